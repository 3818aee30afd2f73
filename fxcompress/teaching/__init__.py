"""Learning from a teacher: taps on the values of a graph, what is kept of them, and who answers for the teacher."""

from fxcompress.teaching.cached import CachedTeacher as CachedTeacher
from fxcompress.teaching.taps import Tap as Tap
from fxcompress.teaching.taps import find_taps as find_taps
from fxcompress.teaching.taps import tapped as tapped
from fxcompress.teaching.teacher import LiveTeacher as LiveTeacher
from fxcompress.teaching.teacher import Teacher as Teacher
from fxcompress.teaching.transforms import Transform as Transform
