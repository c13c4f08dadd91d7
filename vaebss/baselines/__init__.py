"""Methods that the VAE is compared with: every class here has a `separate(mixture) -> Separation`, as VAEBSS does.

The paper's third baseline, the plain auto-encoder, is `VAEBSS(variational=False)`. None sees a true source.
"""

from vaebss.baselines.glo import GLO
from vaebss.baselines.mixit import MixIT
from vaebss.baselines.nmf import NMF
from vaebss.baselines.trivial import EqualShare, OneSlot, Silence

__all__ = ["GLO", "NMF", "EqualShare", "MixIT", "OneSlot", "Silence"]
