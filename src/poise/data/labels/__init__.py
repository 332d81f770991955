"""How labels are read, checked and split by: one kind of label, one file."""

from poise.data.labels.anything import Anything
from poise.data.labels.class_ids import ClassIds
from poise.data.labels.class_sets import ClassSets
from poise.data.labels.labels import Labels, Seen
from poise.data.labels.masks import Masks
from poise.data.labels.numbers import Numbers

__all__ = ["Anything", "ClassIds", "ClassSets", "Labels", "Masks", "Numbers", "Seen"]
