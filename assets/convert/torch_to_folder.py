#!/usr/bin/python3
"""Turns PyTorch checkpoints into .safetensors, or a module and its checkpoint into a model folder.

Needs Debian's python3-torch and python3-numpy; with --module also python3-onnx, because the
network is read from torch's own ONNX export:

    /usr/bin/python3 torch_to_folder.py net.pt -o net.safetensors
    /usr/bin/python3 torch_to_folder.py net.pt --module net.py:Net --input 1,28,28 -o FOLDER \\
        [--eval data.npz] [--labels names.txt]

Without --module the tensors of the checkpoints (.pt .pth .bin .ckpt; several shards are merged)
are written under their names; the file is enough to explore weights. With --module, NAME of
FILE.py is called without arguments and must give the torch.nn.Module; --input is the shape of
one row, and --ids says that the rows hold ids.

A checkpoint is a pickle, and a pickle can run programs. It is loaded in torch's weights-only
mode, which reads tensors and plain containers; --unsafe loads anything, for files you trust.
FILE.py is run as it is. Exit codes: 0 done, 2 wrong use, 3 unreadable or invalid input, 4 a
network that a model folder cannot express.
"""
import argparse
import importlib.util
import io
import os
import pickle
import sys
import warnings

try:
    import torch
except ImportError as missing:
    sys.exit(f"torch_to_folder.py needs the Debian package python3-torch ({missing}); run it "
             "with /usr/bin/python3.")

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import modelfolder  # noqa: E402
from modelfolder import UNSUPPORTED, Refused, note  # noqa: E402

CONTAINERS = ("state_dict", "model_state_dict", "model_state", "model", "net", "module")
OPSET = 17  # the newest of Debian's torch 1.13, and the one of graph.json
TRACED_BATCH = 13  # a size that no other dimension is likely to have
DTYPES = {torch.float64: "F64", torch.float32: "F32", torch.float16: "F16",
          torch.bfloat16: "BF16", torch.int64: "I64", torch.int32: "I32", torch.int16: "I16",
          torch.int8: "I8", torch.uint8: "U8", torch.bool: "BOOL"}


def load(path, unsafe):
    """Loads one checkpoint onto the CPU."""
    try:
        return torch.load(path, map_location="cpu", weights_only=not unsafe)
    except pickle.UnpicklingError as error:
        reason = str(error).splitlines()[0]
        if "weights_only" not in str(error) and "Unsupported" not in str(error):
            raise Refused(f"{path} is not a PyTorch checkpoint ({reason}).") from error
        raise Refused(f"{path} holds more than tensors ({reason}); loading it can run programs "
                      "hidden in it: add --unsafe only if you trust where it comes from."
                      ) from error
    except (RuntimeError, ValueError, KeyError, EOFError, AttributeError, IndexError,
            ModuleNotFoundError) as error:
        raise Refused(f"{path} is not a PyTorch checkpoint ({str(error).splitlines()[0]})."
                      ) from error


def state_dict(path, unsafe):
    """The tensors of a checkpoint by name; says what it leaves out."""
    loaded = load(path, unsafe)
    if isinstance(loaded, torch.nn.Module):
        loaded = loaded.state_dict()
    for key in CONTAINERS:
        if isinstance(loaded, dict) and isinstance(loaded.get(key), (dict, torch.nn.Module)):
            inner = loaded[key]
            note(f"{path}: taking the part '{key}'.")
            loaded = inner.state_dict() if isinstance(inner, torch.nn.Module) else inner
            break
    if not isinstance(loaded, dict):
        raise Refused(f"{path} holds a {type(loaded).__name__}, not tensors by name.")
    tensors = {name: t for name, t in loaded.items() if isinstance(t, torch.Tensor)}
    others = [str(name) for name in loaded if name not in tensors]
    if others:
        note(f"{path}: left out, not tensors: {', '.join(others[:5])}"
             + (f" and {len(others) - 5} more." if len(others) > 5 else "."))
    if not tensors:
        raise Refused(f"{path} holds no tensors by name.")
    return tensors


def read_checkpoints(paths, unsafe):
    """The tensors of all shards."""
    merged = {}
    for path in paths:
        for name, tensor in state_dict(path, unsafe).items():
            if name in merged:
                raise Refused(f"{path}: tensor {name} is in another checkpoint already.")
            merged[name] = tensor
    return merged


def raw(name, tensor):
    """A tensor as write_safetensors takes it."""
    if tensor.dtype not in DTYPES or tensor.layout != torch.strided:
        raise Refused(f"Tensor {name} is {str(tensor.dtype).removeprefix('torch.')}, "
                      f"{str(tensor.layout).removeprefix('torch.')}; safetensors has no place for "
                      "that: dequantize it or make it dense first.", UNSUPPORTED)
    flat = tensor.detach().contiguous()
    data = flat.view(torch.int16) if flat.dtype == torch.bfloat16 else flat
    return DTYPES[tensor.dtype], tuple(tensor.shape), data.numpy().tobytes()


def make_module(where):
    """Calls NAME of FILE.py:NAME."""
    path, _, name = where.rpartition(":")
    if not path.endswith(".py") or not name:
        raise Refused(f"--module {where}: expected FILE.py:NAME.", 2)
    if not os.path.exists(path):
        raise Refused(f"--module {where}: there is no file {path}.", 2)
    spec = importlib.util.spec_from_file_location("module_of_the_user", path)
    code = importlib.util.module_from_spec(spec)
    sys.path.insert(0, os.path.dirname(os.path.abspath(path)))
    sys.modules[spec.name] = code
    try:
        spec.loader.exec_module(code)
        if not hasattr(code, name):
            raise Refused(f"--module {where}: {path} has no {name}.", 2)
        module = getattr(code, name)()
    except Refused:
        raise
    except Exception as error:  # the user's own code may fail in any way
        raise Refused(f"--module {where}: {type(error).__name__}: {error}.") from error
    if not isinstance(module, torch.nn.Module):
        raise Refused(f"--module {where} gives an object of type {type(module).__name__}, "
                      "not a torch.nn.Module.")
    return module


def fill(module, tensors):
    """Puts the checkpoint into the module; names and shapes must fit exactly."""
    for prefix in ("module.", "model.", "_orig_mod."):
        if all(name.startswith(prefix) for name in tensors) \
                and not any(name.startswith(prefix) for name in module.state_dict()):
            tensors = {name[len(prefix):]: t for name, t in tensors.items()}
            note(f"the prefix '{prefix}' of all names is dropped.")
    try:
        module.load_state_dict(tensors)
    except RuntimeError as error:
        lines = [line.strip() for line in str(error).splitlines()[1:3]]
        raise Refused(f"The checkpoint does not fit the module: {' '.join(lines)}") from error


def count_padding(module):
    """Writes padding "same" and "valid" as numbers, which the exporter asks for."""
    for m in module.modules():
        if isinstance(m, (torch.nn.Conv1d, torch.nn.Conv2d)) and isinstance(m.padding, str):
            total = [d * (k - 1) if m.padding == "same" else 0
                     for k, d in zip(m.kernel_size, m.dilation)]
            if any(n % 2 for n in total):
                raise Refused("Padding 'same' with an even kernel has no symmetric form; pad "
                              "before the convolution instead.", UNSUPPORTED)
            m.padding = tuple(n // 2 for n in total)


def export(module, shape, ids):
    """The module as an ONNX model, with its weights under their own names."""
    import onnx
    x = torch.zeros([TRACED_BATCH, *shape], dtype=torch.int64 if ids else torch.float32)
    count_padding(module)
    # Tracing warns where a size becomes a number; the converter's walks find those.
    warnings.simplefilter("ignore", torch.jit.TracerWarning)
    file = io.BytesIO()
    # Weights that want gradients keep torch from its fused transformer layer, which has no export.
    module = module.eval().float().requires_grad_(True)
    try:
        # PRESERVE: in EVAL the exporter would fold batch normalization into the weights.
        torch.onnx.export(module, x, file, opset_version=OPSET, do_constant_folding=False,
                          training=torch.onnx.TrainingMode.PRESERVE, input_names=["x"],
                          output_names=["logits"], dynamic_axes={"x": {0: "N"}})
    except Exception as error:  # whatever the module's own forward raises
        reason = str(error).strip().splitlines() or [type(error).__name__]
        raise Refused(f"The module cannot be traced with rows of shape {list(shape)}: "
                      f"{reason[0].rstrip('.')}.", UNSUPPORTED) from error
    return onnx.load_from_string(file.getvalue())


def write_folder(args, tensors):
    """Exports the module with its checkpoint and writes the model folder."""
    import onnx_to_folder
    modelfolder.check_target(args.out, args.force)
    module = make_module(args.module)
    fill(module, tensors)
    name = args.name or args.module.rpartition(":")[2]
    graph, classes, weights = onnx_to_folder.build(export(module, args.input, args.ids), name,
                                                   traced_batch=TRACED_BATCH)
    graph["labels"] = modelfolder.read_labels(args.labels, classes)
    evaluation = modelfolder.read_eval(args.eval, graph) if args.eval else None
    source = ", ".join(os.path.basename(path) for path in args.checkpoint)
    modelfolder.write_folder(args.out, graph, weights, source, evaluation)


def write_tensors(args, tensors):
    """Writes the tensors as they are."""
    if os.path.exists(args.out) and not args.force:
        raise Refused(f"{args.out} exists already; choose another name or add --force.")
    modelfolder.write_safetensors(args.out, {name: raw(name, t) for name, t in tensors.items()})
    print(f"{args.out}: {len(tensors)} tensors, {sum(t.numel() for t in tensors.values())} values")


def row_shape(text):
    """Parses 1,28,28."""
    try:
        shape = tuple(int(n) for n in text.split(","))
    except ValueError:
        shape = (0,)
    if min(shape) < 1:
        raise argparse.ArgumentTypeError(f"'{text}' is not a shape like 1,28,28")
    return shape


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("checkpoint", nargs="+", help=".pt, .pth, .bin or .ckpt file; or shards")
    parser.add_argument("-o", "--out", required=True, help=".safetensors file, or folder")
    parser.add_argument("--module", metavar="FILE.py:NAME", help="class or function to call")
    parser.add_argument("--input", type=row_shape, help="shape of one row, as 1,28,28")
    parser.add_argument("--ids", action="store_true", help="the rows hold ids, not numbers")
    parser.add_argument("--name", help="name of the network (default: the module's)")
    parser.add_argument("--labels", metavar="FILE", help="class names, one a line")
    parser.add_argument("--eval", metavar="FILE", help=".npz file with arrays x and labels")
    parser.add_argument("--unsafe", action="store_true", help="load pickles that hold anything")
    parser.add_argument("--force", action="store_true", help="write over existing files")
    args = parser.parse_args()
    if bool(args.module) != bool(args.input):
        parser.error("--module and --input belong together")
    if not args.module and (args.labels or args.eval or args.name or args.ids):
        parser.error("--labels, --eval, --name and --ids need --module")
    return args


def main():
    args = parse_arguments()
    tensors = read_checkpoints(args.checkpoint, args.unsafe)
    if args.module:
        write_folder(args, tensors)
    else:
        write_tensors(args, tensors)


if __name__ == "__main__":
    modelfolder.run_main(main)
