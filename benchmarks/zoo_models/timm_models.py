"""One small model of each of many families of timm, with random weights."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from torch import nn

from zoo_models.entry import Entry, images

# The name of a model and the edge length of its images, in pixels.
MODELS = """
beit_base_patch16_224 224
halonet_h1 256
convit_tiny 224
crossvit_tiny_240 240
csatv2 512
cspnext_tiny 224
davit_tiny 224
deepseek_vit_412m 546
deit_tiny_patch16_224 224
densenet121 224
dla46x_c 224
dpn48b 224
edgenext_xx_small 256
efficientformerv2_s0 224
test_efficientnet 160
efficientvim_m1 224
efficientvit_m0 224
vit_tiny_patch16_dinov3_qkvb 256
fasternet_t0 224
fastvit_t8 256
focalnet_tiny_srf 224
gcvit_xxtiny 224
gemma4_vit_167m 768
ghostnet_050 224
hardcorenas_b 224
hgnetv2_b0 224
hiera_tiny_224 224
hieradet_small 256
iformer_t 224
inception_next_atto 224
inception_v3 299
test_mambaout 160
test_coatnet 160
poolformerv2_s12 224
mobilenetv5_base 256
mobilevit_xxs 256
mvitv2_tiny 224
nextvit_small 224
test_nfnet 160
pit_ti_224 224
pnasnet5large 331
qwen3_vit_88m 768
regnetx_002 224
repghostnet_050 224
repvit_m1 224
res2next50 224
test_resnet 160
resnetv2_18 224
legacy_seresnet18 224
sequencer2d_s 224
skresnet18 224
starnet_s050 224
swiftformer_xs 224
swinv2_tiny_window8_256 256
swinv2_cr_tiny_224 224
tiny_vit_5m_224 224
tnt_s_legacy_patch16_224 224
vgg11 224
test_vit 160
vit_tiny_r_s16_p8_224 224
test_vit_relpos 160
samvit_base_patch16_224 224
vitamin_small_224 224
volo_d1_224 224
legacy_xception 299
xception41p 299
xcit_nano_12_p8_224 224
"""


def entries() -> Iterator[Entry]:
    """Yield the models of timm."""
    for line in MODELS.split("\n"):
        if line:
            name, edge = line.split()
            yield Entry(f"timm/{name}", "timm", partial(_build, name), images(3, int(edge), int(edge)))


def _build(name: str) -> nn.Module:
    import timm

    model: nn.Module = timm.create_model(name, pretrained=False)
    return model
