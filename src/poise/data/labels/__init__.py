"""How labels are read, checked and split by: one kind of label, one file."""

from poise.data.labels.class_ids import ClassIds, empty_classes
from poise.data.labels.labels import Labels, Seen

__all__ = ["ClassIds", "Labels", "Seen", "empty_classes"]
