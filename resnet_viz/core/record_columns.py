"""What every column of every table of ``records`` means, in the order of the columns."""

from __future__ import annotations

STATS = {
    "numel": "elements of the gradient",
    "l2": "its Euclidean norm",
    "rms": "l2 / sqrt(numel)",
    "low": "its smallest element",
    "high": "its largest element",
    "mean": "its mean, with full statistics",
    "mean_abs": "mean magnitude, with full statistics",
    "zero_fraction": "fraction of exact zeros, with full statistics",
}
COSTS = {
    "params": "distinct parameter scalars first read here",
    "trainable": "of these, with requires_grad",
    "param_bytes": "bytes of the parameters",
    "buffers": "distinct buffer scalars first read here",
    "buffer_bytes": "bytes of the buffers",
    "macs": "multiply-accumulates of one forward",
    "flops": "2 · macs",
    "uncounted": "ops in it whose MACs are not known",
    "activation_bytes": "bytes of the outputs it allocates",
    "saved_bytes": "bytes kept for the backward, where measured",
}
_OPS = {
    "id": "the call, unique in the graph",
    "kind": "plain name of the function",
    "module": "path of the module whose forward made the call",
    "shape": "of the first output",
    "dtype": "of the first output",
    "params": "parameter scalars first read here; the column adds up",
    "macs": "multiply-accumulates; None where torch has no formula",
    "flops": "2 · macs",
    "inplace": "whether it wrote into an argument",
    "source_line": "file.py:line of the call",
}
COLUMNS: dict[str, dict[str, str]] = {
    "graph": _OPS,
    "ops": _OPS
    | {
        "stage": "the stage it belongs to",
        "block": "join of the innermost block around it; empty for none",
        "block_kind": "that block's kind",
        "squeeze": "that block's smallest width over the width at its join",
        "activation_bytes": "bytes of the outputs it allocates",
        "saved_bytes": "bytes kept for the backward, where measured",
        "grad_l2": "norm of the gradient at its output, where measured",
        "grad_rms": "the same per element",
        "param_grad_l2": "norm of its parameters' gradients, where measured",
    },
    "skips": {
        "id": "fork->join",
        "kind": "identity, projection, scaled, gate or concat",
        "fork": "where the ways part",
        "join": "where they meet",
        "branch_ops": "ops on the branch",
        "shortcut_ops": "ops on the shortcut",
        "share": "of the fork's gradient, what came back over the shortcut, where measured",
    },
    "blocks": {
        "join": "op in which it ends; unique",
        "kind": "what it is",
        "title": "the kind in words, pre-activation included",
        "preactivation": "whether norm and activation come first",
        "module": "smallest module that holds it",
        "stage": "the stage it belongs to",
        "skip": "id of the skip around it",
        "skip_kind": "kind of that skip",
        "ops": "how many ops it has",
        "squeeze": "smallest width along the branch over the width at the join",
        "widths": "output channels along the branch",
        "kernels": "kernel sizes along the branch",
    }
    | COSTS,
    "stages": {
        "name": "a module path or stage k; unique",
        "resolution": "size of its feature maps",
        "ops": "how many ops it has",
        "blocks": "how many blocks it has",
    }
    | COSTS,
    "costs": {
        "by": "op, module, block, stage, kind or total",
        "key": "id of the op, path, join, name or kind; empty for the rest or the root",
    }
    | COSTS,
    "repeats": {
        "first": "first op of the first copy",
        "count": "how many copies follow each other",
        "ops": "ops of each copy",
        "modules": "module of each copy",
        "shared": "parameters that all copies read",
    },
    "parameters": {
        "name": "the parameter",
        **STATS,
        "weight_l2": "norm of the parameter itself",
        "ratio": "l2 / weight_l2",
        "reason": "why there is no gradient; empty where there is one",
    },
    "calls": {"op": "the call", **STATS},
    "shares": {
        "src": "the fork",
        "dst": "the consumer that sent this part of its gradient",
        "share": "<g_e, g> / <g, g>; the shares at a fork sum to 1",
        "norm_ratio": "|g_e| / |g|",
        "cosine": "between g_e and g",
    },
    "findings": {
        "severity": "error, warning or note",
        "what": "in a few words",
        "where": "ops, parameters or modules it speaks of",
        "evidence": "the measured numbers",
        "threshold": "the rule that fired",
        "source": "paper or document of the threshold",
        "remedy": "what to try",
    },
    "attributions": {
        "input": "index of the input sample",
        "picture": "its name, where it is a picture",
        "method": "the method",
        "target": "what was explained",
        "layer": "the layer it was taken at; empty for the input",
        "signed": "whether negative values mean evidence against the target",
        "delta": "completeness delta, where the method claims completeness",
        "relative_delta": "the delta over the change of the output",
        "verdict": "how far to trust it",
    },
}
