"""Where images and texts come from, how they are split, and how they reach the device in batches."""

from poise.data.augmentation import Augmentation
from poise.data.batches import Batches
from poise.data.fingerprint import fingerprint
from poise.data.images import Images
from poise.data.labels import ClassIds, ClassSets, Labels, Masks, Numbers, Seen
from poise.data.overlap import overlap
from poise.data.source import SOURCES, Source, open_data, open_source, source_name
from poise.data.splits import search_halves, stratified_holdout
from poise.data.text import Text, TextSource
from poise.data.text_batches import TextBatches

__all__ = [
    "SOURCES",
    "Augmentation",
    "Batches",
    "ClassIds",
    "ClassSets",
    "Images",
    "Labels",
    "Masks",
    "Numbers",
    "Seen",
    "Source",
    "Text",
    "TextBatches",
    "TextSource",
    "fingerprint",
    "open_data",
    "open_source",
    "overlap",
    "search_halves",
    "source_name",
    "stratified_holdout",
]
