"""Golden numbers for the operations of keypoint heads, made with PyTorch 2.15 in float64 and stored as float32.

    python generate_pose.py OUT_DIR        needs torch and safetensors

pose_ops.safetensors   one group of tensors per case, named <case>.<tensor>; the metadata key "cases" is a JSON list.
    transposed convolutions: {name, n, cin, cout, kernel, stride, padding, output_padding, groups, bias, h, w}; pairs are
        (height, width). x [N,Cin,H,W]  weight [Cin,Cout/groups,kh,kw]  bias [Cout]  y [N,Cout,H',W']
    bilinear upsampling: {name, n, cin, scale, h, w}. x [N,C,H,W]  y [N,C,scale*H,scale*W]
    dy: upstream gradient; grad.<tensor>: gradient of sum(y*dy) with respect to x, weight and bias
"""
import json, pathlib, sys
import torch
import torch.nn.functional as F
from safetensors.torch import save_file

OUT = pathlib.Path(sys.argv[1])
torch.set_default_dtype(torch.float64)
torch.manual_seed(20261)

CASES = []
for name, n, cin, cout, kernel, stride, padding, output_padding, groups, bias, h, w in [
    ("deconv4_stride2", 2, 6, 10, (4, 4), (2, 2), (1, 1), (0, 0), 1, False, 4, 3),
    ("deconv4_stride2_bias", 1, 20, 17, (4, 4), (2, 2), (1, 1), (0, 0), 1, True, 8, 6),
    ("deconv3_stride2_added", 2, 5, 7, (3, 3), (2, 2), (1, 1), (1, 1), 1, True, 5, 4),
    ("deconv2_stride2", 2, 4, 6, (2, 2), (2, 2), (0, 0), (0, 0), 1, False, 3, 5),
    ("deconv1_stride3_gaps", 1, 3, 4, (1, 1), (3, 3), (0, 0), (2, 1), 1, True, 3, 2),
    ("deconv5_stride1", 2, 3, 5, (5, 5), (1, 1), (2, 2), (0, 0), 1, False, 6, 5),
    ("rectangular", 2, 4, 3, (3, 2), (1, 3), (1, 0), (0, 2), 1, True, 4, 5),
    ("much_padding", 1, 3, 3, (6, 5), (2, 1), (4, 3), (1, 0), 1, False, 5, 6),
    ("grouped", 2, 8, 12, (4, 4), (2, 2), (1, 1), (0, 0), 4, True, 3, 4),
    ("depthwise", 2, 6, 6, (4, 4), (2, 2), (1, 1), (0, 0), 6, False, 4, 5),
    ("one_pixel", 3, 7, 5, (4, 4), (2, 2), (1, 1), (0, 0), 1, True, 1, 1),
]:
    CASES.append(dict(name=name, n=n, cin=cin, cout=cout, kernel=kernel, stride=stride, padding=padding,
                      output_padding=output_padding, groups=groups, bias=bias, h=h, w=w))
for name, n, cin, scale, h, w in [
    ("up2", 2, 6, 2, 4, 3),
    ("up2_odd", 1, 19, 2, 5, 7),
    ("up3", 2, 3, 3, 3, 4),
    ("up4_line", 1, 2, 4, 1, 6),
    ("up1", 1, 3, 1, 2, 2),
    ("up2_one_pixel", 2, 4, 2, 1, 1),
]:
    CASES.append(dict(name=name, n=n, cin=cin, scale=scale, h=h, w=w))

tensors = {}
for c in CASES:
    p = {"x": torch.randn(c["n"], c["cin"], c["h"], c["w"])}
    if "scale" not in c:
        p["weight"] = torch.randn(c["cin"], c["cout"] // c["groups"], *c["kernel"]) * 0.4
        if c["bias"]:
            p["bias"] = torch.randn(c["cout"])
    for v in p.values():
        v.requires_grad_()
    if "scale" in c:
        y = F.interpolate(p["x"], scale_factor=c["scale"], mode="bilinear")
    else:
        y = F.conv_transpose2d(p["x"], p["weight"], p.get("bias"), c["stride"], c["padding"], c["output_padding"], c["groups"])
    dy = torch.randn_like(y)
    (y * dy).sum().backward()
    group = {**p, "y": y, "dy": dy, **{f"grad.{k}": v.grad for k, v in p.items()}}
    for k, v in group.items():
        tensors[f"{c['name']}.{k}"] = v.detach().float().contiguous()
save_file(tensors, str(OUT / "pose_ops.safetensors"), metadata={"cases": json.dumps(CASES)})
