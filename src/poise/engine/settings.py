"""The settings of searching and of retraining, validated. Defaults are DARTS's published ones for CIFAR-10."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal, Self, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator, model_validator

from poise.costs.target import CostTarget
from poise.named import LARGEST_COUNT, LARGEST_SIZE

Size = Annotated[int, Field(ge=1, le=LARGEST_SIZE)]
Count = Annotated[int, Field(ge=1, le=LARGEST_COUNT)]
Margin = Annotated[int, Field(ge=0, le=LARGEST_SIZE)]
Rate = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0, lt=1)]
Normalisation = Literal["local", "global"]


class Settings(BaseModel):
    """Frozen, and nothing unknown is accepted."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    @field_validator("*", mode="before")
    @classmethod
    def _no_truth_for_a_number(cls, value: Any, info: ValidationInfo) -> Any:
        kind = cls.model_fields[str(info.field_name)].annotation
        if isinstance(value, bool) and bool not in (kind, *get_args(kind)):
            raise ValueError("expected another kind of value than true or false")
        return value


class WeightSettings(Settings):
    """SGD on the weights; the learning rate follows a cosine over the epochs."""

    learning_rate: Rate = 0.025
    final_learning_rate: NotNegative = 0.001
    momentum: Share = 0.9
    nesterov: bool = False
    weight_decay: NotNegative = 3e-4
    clip: Rate = 5.0
    """The gradient's norm is clipped at this."""

    @model_validator(mode="after")
    def _nesterov_needs_momentum(self) -> Self:
        if self.nesterov and not self.momentum:
            raise ValueError("nesterov needs a momentum above 0")
        return self


class AlphaSettings(Settings):
    """Adam on the alphas."""

    learning_rate: Rate = 3e-4
    final_learning_rate: NotNegative | None = None
    """The learning rate follows a cosine to this over the epochs. None: it stays as it is, as published."""
    betas: tuple[Share, Share] = (0.5, 0.999)
    weight_decay: NotNegative = 1e-3


class AugmentSettings(Settings):
    """Augmentation of training images; None: chosen by the images' size and channels, see `augmentation_of`."""

    crop_padding: Margin | None = None
    flip: bool | None = None
    cutout: Margin = 0


class TextSettings(Settings):
    """How a text is read; only for spaces that are for text."""

    sequence: Size = 35
    """Words of every column of a batch; the learning rate goes with the actual number over this."""
    vary: bool = True
    """Whether that number is random, about ``sequence``."""
    words: Count | None = None
    """Use at most this many words, from its beginning, of each text that is trained on."""


class TextTrainSettings(TextSettings):
    """How a text is read in retraining."""

    patience: Annotated[int, Field(ge=1, le=LARGEST_COUNT)] = 5
    """The weights are averaged from when the validation loss is above the least of all epochs but the last so many."""


class SearchSettings(AugmentSettings):
    """A search: ``epochs`` passes over the training half."""

    epochs: Count = 50
    batch_size: Size = 64
    max_size: Size | None = None
    """Larger images are reduced to this height and width for the search (not for retraining)."""
    images_per_half: Count | None = None
    """Use at most this many images of each half."""
    weights_first: bool = False
    """Each step moves the weights before the alphas, as NAS-Bench-201's released code does."""
    label_smoothing: Share = 0.0
    diagnostics: tuple[str, ...] = ()
    """What else is measured after each epoch, for its record: names of ``poise list diagnostics``."""
    execution: Literal["auto", "normed", "stacked"] = "auto"
    """How mixed cells are computed, the same numbers but for rounding: by large kernels that need little memory, by few
    kernels, or by whichever suits the device and the size."""
    capture: Literal["auto", "off"] = "auto"
    """On a CUDA device steps are captured in a graph and replayed, the same numbers to the last bit; off: never."""
    normalisation: Normalisation = "local"
    """Where a batch is divided over several processes: whether a batch normalisation sees the rows of its process, or
    those of the whole batch, as on one device."""
    weights: WeightSettings = WeightSettings()
    alphas: AlphaSettings = AlphaSettings()
    text: TextSettings = TextSettings()
    target: CostTarget | None = None
    """What the network should cost: `metric`, `value`, and for latency the `table`; see `--target-macs`."""

    @field_validator("target")
    @classmethod
    def _table_anywhere(cls, target: CostTarget | None) -> CostTarget | None:
        """Its path is absolute however it was given, so that a run means the same table in every folder."""
        table = None if target is None else target.table
        return target if table is None else replace(target, table=str(Path(table).resolve()))  # type: ignore[type-var]


class RetrainWeightSettings(WeightSettings):
    """SGD for retraining: the learning rate ends at 0."""

    final_learning_rate: NotNegative = 0.0


class TrainSettings(AugmentSettings):
    """Retraining of a discrete network from scratch, on the whole training split."""

    form: Literal["cifar", "imagenet"] | None = None
    """The form of the networks, for spaces that have several: `imagenet` halves the image three times before the first
    cell. None: the space's own."""
    channels: Size | None = None
    """Of the first cells; of a recurrent network its units. None: the space's published size."""
    cells: Size | None = None
    epochs: Count = 600
    batch_size: Size = 96
    drop_path: Share = 0.2
    """Reached linearly over the epochs."""
    auxiliary: NotNegative = 0.4
    """The weight of the auxiliary head's loss; 0: no head."""
    label_smoothing: Share = 0.0
    schedule: Literal["cosine", "linear", "exponential"] = "cosine"
    """How the learning rate goes from its start to its end over the epochs."""
    warm_up: Annotated[int, Field(ge=0, le=LARGEST_COUNT)] = 0
    """Epochs in which the learning rate rises linearly to its start; the schedule counts them too."""
    crop_area: Annotated[float, Field(gt=0, le=1)] | None = None
    """Of streamed images, the least share that a random crop covers. None: 0.08, as published."""
    colour_jitter: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Of streamed images, how much brightness, contrast and saturation vary at random; the hue by half as much."""
    capture: Literal["auto", "off"] = "auto"
    """As `search.capture`."""
    compile: Literal["off", "on"] = "off"
    """Whether `torch.compile` fuses the network's forward pass: the same numbers but for rounding, after a minute or
    more at the beginning. Nobody has measured it on a GPU yet."""
    normalisation: Normalisation = "local"
    """As `search.normalisation`."""
    weights: RetrainWeightSettings = RetrainWeightSettings()
    text: TextTrainSettings = TextTrainSettings()

    @model_validator(mode="after")
    def _a_schedule_that_exists(self) -> Self:
        if self.warm_up >= self.epochs:
            raise ValueError(
                f"{self.epochs} epochs are not more than train.warm_up, {self.warm_up}: the learning rate would never "
                "fall; train longer, or with a shorter train.warm_up"
            )
        if self.schedule == "exponential" and not self.weights.final_learning_rate:
            raise ValueError("an exponential schedule never reaches 0; set train.weights.final_learning_rate")
        return self
