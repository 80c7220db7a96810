"""ProxylessNAS-GPU, which timm does not have, from timm's EfficientNet blocks.

Source: ProxylessNAS (Cai et al., 2019), Figure 4c. Blocks that its search skipped are left out.
"""

from __future__ import annotations

from timm.models.efficientnet import EfficientNet, decode_arch_def
from torch import nn

STEM, HEAD = 40, 1728
STAGES = [  # kernel k, stride s, expansion e, channels c
    ["ds_r1_k3_s1_c24"],
    ["ir_r1_k5_s2_e3_c32"],
    ["ir_r1_k7_s2_e3_c56", "ir_r1_k3_s1_e3_c56"],
    ["ir_r1_k7_s2_e6_c112", "ir_r1_k5_s1_e3_c112"],
    ["ir_r1_k5_s1_e6_c128", "ir_r1_k3_s1_e3_c128", "ir_r1_k5_s1_e3_c128"],
    ["ir_r1_k7_s2_e6_c256", "ir_r2_k7_s1_e6_c256", "ir_r1_k5_s1_e6_c256"],
    ["ir_r1_k7_s1_e6_c432"],
]


def proxyless_gpu(num_classes: int) -> nn.Module:
    """Build it, initialised at random.

    Args:
        num_classes: Classes of the head.
    """
    blocks = decode_arch_def(STAGES)
    model: nn.Module = EfficientNet(
        blocks,
        num_classes=num_classes,
        num_features=HEAD,
        stem_size=STEM,
        fix_stem=True,
        act_layer=nn.ReLU6,
    )
    return model
