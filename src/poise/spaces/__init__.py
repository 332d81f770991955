"""Search spaces: what can be built."""

from poise.spaces.custom import ModuleSpace
from poise.spaces.darts import Darts
from poise.spaces.language import Noise
from poise.spaces.mobile import Mobile
from poise.spaces.nasbench1shot1 import NasBench1Shot1Space1, NasBench1Shot1Space2, NasBench1Shot1Space3
from poise.spaces.nasbench201 import NasBench201
from poise.spaces.recurrent import Recurrent
from poise.spaces.robust import S1, S2, S3, S4
from poise.spaces.sample_shape import Input, SampleShape
from poise.spaces.space import SPACES, ImageShape, Space, TextShape

darts, nasbench201, s1, s2, s3, s4 = Darts, NasBench201, S1, S2, S3, S4
mobile, recurrent = Mobile, Recurrent

__all__ = [
    "S1",
    "S2",
    "S3",
    "S4",
    "SPACES",
    "Darts",
    "ImageShape",
    "Input",
    "Mobile",
    "ModuleSpace",
    "NasBench1Shot1Space1",
    "NasBench1Shot1Space2",
    "NasBench1Shot1Space3",
    "NasBench201",
    "Noise",
    "Recurrent",
    "SampleShape",
    "Space",
    "TextShape",
    "darts",
    "mobile",
    "nasbench201",
    "recurrent",
    "s1",
    "s2",
    "s3",
    "s4",
]
