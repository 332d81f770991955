"""What a network is for: how data is read, what a network is judged by, how it is measured, saved and described."""

from poise.tasks.classification import Classification
from poise.tasks.language import Language
from poise.tasks.multilabel import MultiLabel
from poise.tasks.own import Own
from poise.tasks.regression import Regression
from poise.tasks.segmentation import Segmentation
from poise.tasks.supervised import Supervised
from poise.tasks.task import TASKS

__all__ = ["TASKS", "Classification", "Language", "MultiLabel", "Own", "Regression", "Segmentation", "Supervised"]
