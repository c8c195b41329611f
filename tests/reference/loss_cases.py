"""Makes src/detector/tests/fixtures/loss.safetensors: the loss of the reference package on small made-up batches.

The package (ultralytics 8.4.190, torch 2.13.0, CPU, float32, one thread) is run as a black box through its public
calls: `criterion.<branch>.loss` for items and gradients, `TaskAlignedAssigner` for the assignment, `bbox_iou` for the
gradients of CIoU at ties. Predictions are made up here, so no network weights are involved.

    YOLO_OFFLINE=true python tests/reference/loss_cases.py src/detector/tests/fixtures/loss.safetensors

A second argument is a seed of its own (`cargo xtask parity`), and adds a case too large to be kept.
"""

import sys
from itertools import chain

import torch
from safetensors.torch import save_file
from ultralytics.cfg import get_cfg
from ultralytics.nn.tasks import DetectionModel
from ultralytics.utils.metrics import bbox_iou
from ultralytics.utils.tal import TaskAlignedAssigner

sys.tracebacklimit = 0  # A traceback would quote the package's source.

torch.set_num_threads(1)
STRIDES = [8, 16, 32]
BRANCHES = {"one2many": (10, 10), "one2one": (7, 1)}


def grid(height, width):
    """Points in cells (A, 2) and the stride of each (A, 1), levels in order, rows outer."""
    points, strides = [], []
    for s in STRIDES:
        y, x = torch.meshgrid(torch.arange(height // s), torch.arange(width // s), indexing="ij")
        points.append(torch.stack([x, y], -1).reshape(-1, 2) + 0.5)
        strides.append(torch.full((points[-1].shape[0], 1), float(s)))
    return torch.cat(points), torch.cat(strides)


def targets_px(targets, batch, height, width):
    """Padded (B, G, 5) class and xyxy pixels, and the validity mask."""
    counts = [int((targets[:, 0] == b).sum()) for b in range(batch)]
    out = torch.zeros(batch, max(counts, default=0), 5)
    for b in range(batch):
        rows = targets[targets[:, 0] == b]
        xywh = rows[:, 2:] * torch.tensor([width, height, width, height])
        out[b, : len(rows), 0] = rows[:, 1]
        out[b, : len(rows), 1:3] = xywh[:, :2] - xywh[:, 2:] / 2
        out[b, : len(rows), 3:5] = xywh[:, :2] + xywh[:, 2:] / 2
    return out, out[..., 1:].sum(-1, keepdim=True) > 0


def aimed(targets, batch, height, width, noise, gen):
    """Distances that roughly point at a box around each anchor, so that overlaps and conflicts are frequent."""
    points, strides = grid(height, width)
    gts, valid = targets_px(targets, batch, height, width)
    d = torch.randn(batch, 4, len(points), generator=gen) * 0.7 + 2.0
    for b in range(batch):
        for a in range(len(points)):
            p = points[a] * strides[a]
            inside = [
                g for g in range(gts.shape[1])
                if valid[b, g] and bool((p > gts[b, g, 1:3]).all()) and bool((p < gts[b, g, 3:5]).all())
            ]
            if inside:
                g = inside[int(torch.randint(len(inside), (1,), generator=gen))]
                ltrb = torch.cat([p - gts[b, g, 1:3], gts[b, g, 3:5] - p]) / strides[a]
                d[b, :, a] = ltrb * (1 + noise * torch.randn(4, generator=gen))
    return d


def random_targets(batch, per_image, classes, low, high, gen):
    rows = []
    for b, n in zip(range(batch), per_image):
        for _ in range(n):
            wh = low + (high - low) * torch.rand(2, generator=gen)
            xy = torch.rand(2, generator=gen)
            rows.append([float(b), float(torch.randint(classes, (1,), generator=gen)), *xy.tolist(), *wh.tolist()])
    return torch.tensor(rows).reshape(-1, 6)


def cases(seed):
    gen = torch.Generator().manual_seed(seed)
    randn = lambda *s: torch.randn(*s, generator=gen)

    t = random_targets(3, [6, 0, 3], 3, 0.1, 0.6, gen)
    a = 84
    yield "random", 64, 64, 3, t, randn(3, 4, a) * 1.5 + 2, randn(3, 3, a) * 2 - 1

    t = random_targets(2, [12, 7], 3, 0.25, 0.7, gen)
    yield "crowded", 96, 160, 3, t, aimed(t, 2, 96, 160, 0.15, gen), randn(2, 3, 315) * 2 - 2

    # Sides below 16 px, boxes over and beyond the border, a row whose corners sum to less than 0, corner boxes whose
    # candidates have low indices; wide enough for libtorch's topk to take the path that keeps the lowest indices.
    t = random_targets(1, [14], 4, 0.01, 0.12, gen)
    extra = [
        [0, 1, 0.02, 0.02, 0.2, 0.15], [0, 2, 0.05, 0.03, 0.04, 0.01], [0, 0, 1.02, 0.5, 0.3, 0.2],
        [0, 3, -0.5, -0.4, 0.1, 0.1], [0, 1, 0.5, 0.5, 0.0999, 0.0625], [0, 1, 0.5, 0.5, 0.1, 0.0626],
        [0, 2, 1.5, 1.5, 0.2, 0.2], [0, 2, 0.6, 0.6, 0.5, 0.3],
    ]
    t = torch.cat([t, torch.tensor(extra)])
    yield "tiny", 256, 160, 4, t, aimed(t, 1, 256, 160, 0.3, gen), randn(1, 4, 840) * 2 - 3

    # The lone class, logits of both extremes.
    t = random_targets(2, [4, 5], 1, 0.2, 0.9, gen)
    yield "extreme", 64, 96, 1, t, aimed(t, 2, 64, 96, 0.05, gen), randn(2, 1, 126) * 30

    yield "empty", 64, 64, 2, torch.zeros(0, 6), randn(2, 4, a) + 2, randn(2, 2, a)

    # Objects that are equal, or equal but for the class: every overlap ties. A class that lacks objects, five images.
    t = random_targets(5, [3, 1, 0, 4, 2], 2, 0.2, 0.6, gen).repeat_interleave(2, 0)
    t[1::4, 1] = 2
    yield "equal", 64, 64, 5, t, aimed(t, 5, 64, 64, 0.2, gen), randn(5, 5, a) * 2


def large_case(seed):
    """So many logits and candidates that libtorch's vectors, blocks and sums all come into play."""
    gen = torch.Generator().manual_seed(seed + 1)
    t = random_targets(3, [40, 0, 25], 80, 0.02, 0.5, gen)
    yield "large", 320, 320, 80, t, aimed(t, 3, 320, 320, 0.2, gen), torch.randn(3, 80, 2100, generator=gen) * 2 - 4


def main(path, seed=None):
    out = {}
    all_cases = cases(26) if seed is None else chain(cases(seed), large_case(seed))
    for name, h, w, k, targets, boxes, logits in all_cases:
        net = DetectionModel("yolo26n.yaml", nc=k, verbose=False)
        net.args = get_cfg()
        net.train()
        batch = dict(img=torch.zeros(1, 3, 64, 64), batch_idx=targets[:, 0], cls=targets[:, 1:2], bboxes=targets[:, 2:])
        net.loss(dict(batch, batch_idx=torch.zeros(0), cls=torch.zeros(0, 1), bboxes=torch.zeros(0, 4)))
        b = boxes.shape[0]
        feats = [torch.zeros(b, 1, h // s, w // s) for s in STRIDES]
        points, strides = grid(h, w)
        gts, valid = targets_px(targets, b, h, w)
        out[f"{name}.size"] = torch.tensor([h, w, k, b], dtype=torch.int64)
        out[f"{name}.targets"], out[f"{name}.boxes"], out[f"{name}.logits"] = targets, boxes, logits
        for branch, (topk, topk2) in BRANCHES.items():
            d, z = boxes.clone().requires_grad_(), logits.clone().requires_grad_()
            loss, items = getattr(net.criterion, branch).loss(dict(boxes=d, scores=z, feats=feats), batch)
            loss.sum().backward()
            p = f"{name}.{branch}"
            out[f"{p}.items"] = torch.stack([items["box_loss"], items["cls_loss"], items["l1_loss"]]).detach()
            out[f"{p}.grad_boxes"], out[f"{p}.grad_logits"] = d.grad, z.grad

            dist = boxes.permute(0, 2, 1)
            xyxy = torch.cat([points - dist[..., :2], points + dist[..., 2:]], -1)
            tal = TaskAlignedAssigner(topk=topk, num_classes=k, alpha=0.5, beta=6.0, stride=STRIDES, topk2=topk2)
            _, _, scores, fg, index = tal(
                logits.permute(0, 2, 1).sigmoid(), xyxy * strides, points * strides, gts[..., :1], gts[..., 1:], valid
            )
            out[f"{p}.assigned"] = torch.where(fg.bool(), index, -1).to(torch.int16)
            out[f"{p}.scores"] = scores.sum(-1)

    # Touching, equal and enclosing boxes: how autograd splits the gradient of max, min and clamp.
    a = torch.tensor([[0.0, 0.0, 2.0, 2.0]]).repeat(8, 1).requires_grad_()
    c = torch.tensor([
        [0.0, 0, 2, 2], [0, 0, 3, 2], [2, 0, 3, 2], [0, 2, 3, 3], [2, 2, 4, 5], [5, 5, 6, 7], [1, 0, 2, 5], [0.5, 0.25, 1.5, 2],
    ])
    v = bbox_iou(a, c, xywh=False, CIoU=True)
    v.sum().backward()
    out["ties.a"], out["ties.c"], out["ties.ciou"], out["ties.grad"] = a.detach(), c, v.detach().reshape(-1), a.grad
    save_file({k: v.contiguous() for k, v in out.items()}, path)


main(sys.argv[1], *map(int, sys.argv[2:]))
