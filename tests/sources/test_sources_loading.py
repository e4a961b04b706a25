"""Models by what a person types: each kind of text, and the one line each mistake gets."""

from __future__ import annotations

import pickle
import random
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from resnet_viz.core.errors import UserError
from resnet_viz.sources.loading import LOADERS, Loaded, ModelSpec, load, parse_arg

NET = """
    from torch import nn

    class Net(nn.Module):
        def __init__(self, width=3):
            super().__init__()
            self.fc = nn.Linear(2, width)
        def forward(self, x):
            return self.fc(x)
"""

Write = Callable[[str, str], Path]


@pytest.fixture
def write(tmp_path: Path) -> Iterator[Write]:
    """Writes a file of the user's and forgets the modules it brought."""
    before, path_before = set(sys.modules), list(sys.path)

    def write(name: str, text: str) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(text))
        return path

    yield write
    assert sys.path == path_before, "loading must leave sys.path as it was"
    for name in set(sys.modules) - before:
        del sys.modules[name]


def loaded(text: object, *args: str, weights: str | None = None, seed: int = 0) -> Loaded:
    spec = ModelSpec(text=str(text), args=tuple(map(parse_arg, args)), weights=weights)
    return load(spec, seed=seed)


def complaint(text: object, *args: str, weights: str | None = None) -> str:
    with pytest.raises(UserError) as caught:
        loaded(text, *args, weights=weights)
    message = str(caught.value)
    assert "\n" not in message
    assert caught.value.exit_code == 2
    return message


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("depth=20", 20),
        ("rate=1e-3", 1e-3),
        ("blocks=[1, 2]", [1, 2]),
        ("flag=True", True),
        ("flag=true", True),
        ("flag=false", False),
        ("norm=None", None),
        ("stride=v1.5", "v1.5"),
        ("activation=relu", "relu"),
        ("text='7'", "7"),
        ("equation=a=b", "a=b"),
        ("empty=", ""),
    ],
)
def test_an_argument_is_a_literal_or_a_text(text: str, value: object) -> None:
    assert parse_arg(text) == (text.partition("=")[0], value)


@pytest.mark.parametrize("text", ["depth", "=3", "a b=3", "1=2", ""])
def test_an_argument_needs_a_name(text: str) -> None:
    with pytest.raises(UserError, match="name=value"):
        parse_arg(text)


@pytest.mark.parametrize(
    ("text", "name", "source", "size"),
    [
        ("resnet20", "resnet20", "resnet-viz", (1, 3, 32, 32)),
        ("torchvision:resnet18", "resnet18", "torchvision ", (1, 3, 224, 224)),
        ("timm:resnet10t", "resnet10t", "timm ", (1, 3, 176, 176)),
        ("torchvision.models:resnet18", "resnet18", "torchvision.models:resnet18", None),
        ("torch.nn:Identity", "Identity", "torch.nn:Identity", None),
    ],
)
def test_each_kind_of_text_loads(
    text: str, name: str, source: str, size: tuple[int, ...] | None
) -> None:
    result = loaded(text)
    assert isinstance(result.model, nn.Module)
    assert result.name == name
    assert result.source.startswith(source)
    assert result.input_size == size
    assert result.weights_note.startswith("random")


def test_a_librarys_mean_and_std_are_known() -> None:
    result = loaded("timm:vit_tiny_patch16_224.augreg_in21k")
    assert (result.mean, result.std) == ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
    assert loaded("torchvision:resnet18").mean == (0.485, 0.456, 0.406)


def test_arguments_reach_the_constructor(write: Write) -> None:
    path = write("net.py", NET)
    assert loaded(f"{path}:Net", "width=5").model.fc.out_features == 5  # type: ignore[union-attr]
    assert loaded("resnet20", "num_classes=4").model.fc.out_features == 4  # type: ignore[union-attr]
    assert loaded("timm:resnet10t", "num_classes=4").model.fc.out_features == 4  # type: ignore[union-attr]
    segmenter = loaded("torchvision:lraspp_mobilenet_v3_large", "num_classes=4").model
    assert segmenter.classifier.low_classifier.out_channels == 4  # type: ignore[union-attr]


def same(a: nn.Module, b: nn.Module) -> bool:
    return all(torch.equal(x, y) for x, y in zip(a.parameters(), b.parameters(), strict=True))


def test_construction_is_seeded_and_the_generators_are_as_they_were(write: Write) -> None:
    path = write(
        "net.py",
        """
        import random
        import numpy as np
        import torch
        from torch import nn

        def net():
            model = nn.Linear(4, 4)
            model.seen = (random.random(), np.random.rand(), torch.rand(()).item())
            return model
        """,
    )
    torch_state, python_state = torch.get_rng_state(), random.getstate()
    numpy_state = np.random.get_state()
    first, again, other = (loaded(f"{path}:net", seed=seed).model for seed in (0, 0, 1))
    assert same(first, again)
    assert not same(first, other)
    assert first.seen == again.seen
    assert all(a != b for a, b in zip(first.seen, other.seen, strict=True))  # type: ignore[arg-type]
    assert torch.equal(torch_state, torch.get_rng_state())
    assert python_state == random.getstate()
    assert all(
        np.array_equal(a, b) for a, b in zip(numpy_state, np.random.get_state(), strict=True)
    )


def test_a_failure_also_leaves_the_generators(write: Write) -> None:
    path = write("net.py", "import torch\ntorch.rand(3)\n1 / 0")
    state = torch.get_rng_state()
    complaint(f"{path}:Net")
    assert torch.equal(state, torch.get_rng_state())


# Files


def test_a_class_a_factory_and_an_instance_load(write: Write) -> None:
    path = write("net.py", NET + "    def make(): return Net(4)\n\n    ready = Net(5)\n")
    for name, width in [("Net", 3), ("make", 4), ("ready", 5)]:
        assert loaded(f"{path}:{name}").model.fc.out_features == width  # type: ignore[union-attr]


def test_a_nested_name_loads(write: Write) -> None:
    path = write("net.py", NET + "\n    class Zoo:\n        Small = Net\n")
    assert loaded(f"{path}:Zoo.Small").name == "Small"


def test_dataclasses_and_pickles_work_in_a_file(write: Write) -> None:
    path = write(
        "net.py",
        """
        from __future__ import annotations
        from dataclasses import dataclass
        from typing import ClassVar
        from torch import nn

        @dataclass
        class Config:
            kind: ClassVar[str] = "x"
            width: int = 3

        class Net(nn.Linear):
            def __init__(self):
                self_config = Config()
                super().__init__(2, self_config.width)
                self.config = self_config
        """,
    )
    model = loaded(f"{path}:Net").model
    assert same(pickle.loads(pickle.dumps(model)), model)


def test_neighbours_are_found_while_loading_and_while_running(write: Write) -> None:
    write("widths.py", "WIDTH = 6")
    write("late.py", "FACTOR = 2")
    path = write(
        "net.py",
        """
        from torch import nn
        from widths import WIDTH

        class Net(nn.Linear):
            def __init__(self):
                super().__init__(2, WIDTH)
            def forward(self, x):
                import late
                return super().forward(x) * late.FACTOR
        """,
    )
    result = loaded(f"{path}:Net")
    with result.running():
        assert result.model(torch.ones(1, 2)).shape == (1, 6)


def test_two_folders_with_neighbours_of_one_name_do_not_mix(write: Write) -> None:
    net = "from torch import nn\nfrom widths import WIDTH\ndef net(): return nn.Linear(1, WIDTH)\n"
    for folder, width in [("a", 3), ("b", 4)]:
        write(f"{folder}/widths.py", f"WIDTH = {width}")
        write(f"{folder}/net.py", net)
    root = write("a/net.py", net).parent.parent
    for folder, width in [("a", 3), ("b", 4), ("a", 3)]:
        result = loaded(f"{root / folder / 'net.py'}:net")
        assert result.model.out_features == width


def test_two_files_of_one_name_do_not_share_a_module(write: Write) -> None:
    one, two = write("a/net.py", NET), write("b/net.py", NET.replace("width=3", "width=7"))
    first, second = loaded(f"{one}:Net").model, loaded(f"{two}:Net").model
    assert type(first).__module__ != type(second).__module__
    assert second.fc.out_features == 7  # type: ignore[union-attr]
    assert same(pickle.loads(pickle.dumps(first)), first)


def test_an_edited_file_is_read_anew(write: Write) -> None:
    path = write("net.py", NET)
    loaded(f"{path}:Net")
    write("net.py", NET.replace("width=3", "width=11 + 0"))
    assert loaded(f"{path}:Net").model.fc.out_features == 11  # type: ignore[union-attr]


def test_a_file_in_a_package_is_imported_by_its_package_name(write: Write) -> None:
    write("mypkg_a/__init__.py", "")
    write("mypkg_a/sizes.py", "WIDTH = 6")
    write("mypkg_a/nets/__init__.py", "")
    path = write(
        "mypkg_a/nets/net.py",
        """
        from torch import nn
        from ..sizes import WIDTH
        import mypkg_a.sizes

        class Net(nn.Linear):
            def __init__(self):
                super().__init__(2, WIDTH)
        """,
    )
    result = loaded(f"{path}:Net")
    assert type(result.model).__module__ == "mypkg_a.nets.net"
    assert result.folder == path.parent.parent.parent
    assert result.model.out_features == 6


def test_a_package_of_a_name_that_is_taken_is_said(write: Write) -> None:
    write("json/__init__.py", "")
    path = write("json/decoder.py", NET)
    assert "already has another json.decoder" in complaint(f"{path}:Net")


def test_a_module_of_the_working_folder_loads(
    write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(write("my_nets_b.py", NET).parent)
    assert loaded("my_nets_b:Net", "width=4").model.fc.out_features == 4  # type: ignore[union-attr]
    assert "did you mean Net" in complaint("my_nets_b:Nte")


def test_random_weights_are_only_called_random_where_that_is_known(write: Write) -> None:
    path = write(
        "net.py",
        """
        from torch import nn
        import torch
        class Net(nn.BatchNorm2d):
            def __init__(self):
                super().__init__(2)
        def plain(): return nn.Linear(2, 2)
        def trained():
            net = Net()
            net(torch.ones(2, 2, 3, 3))
            return net
        """,
    )
    assert loaded(f"{path}:Net").weights_note == "random"
    for name in ("plain", "trained"):
        assert loaded(f"{path}:{name}").weights_note == f"random unless {path} loads its own"


# What bad input gets


def test_an_unknown_name_has_near_misses_and_the_forms() -> None:
    message = complaint("resnet51")
    assert "did you mean" in message
    assert "resnet50" in message
    for form in ("torchvision:NAME", "timm:NAME", "file.py:Name", "pkg.mod:Name"):
        assert form in message
    assert "did you mean torchvision:vgg16?" in complaint("vgg16")
    assert "did you mean timm:skresnet18?" in complaint("skresnet18")
    assert "file.py:Name" in complaint("xyzzy")
    assert "file.py:Name" in complaint("not a name:at all")


def test_an_unknown_name_in_a_library_has_near_misses() -> None:
    assert "did you mean resnet18" in complaint("torchvision:resnt18")
    assert "did you mean resnet18" in complaint("timm:resnt18")


def test_an_unknown_option_is_one_line() -> None:
    assert "did you mean activation" in complaint("resnet20", "activaton=relu")
    assert "bla" in complaint("torchvision:resnet18", "bla=1")
    assert "bla" in complaint("timm:resnet18", "bla=1")


@pytest.mark.parametrize("library", ["torchvision", "timm"])
def test_a_library_that_is_missing_is_to_be_installed(
    library: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, library, None)
    assert f"pip install {library}" in complaint(f"{library}:resnet18")
    assert "give a variant" in complaint("resnet51x")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("nowhere/net.py:Net", "does not exist"),
        ("nowhere/net.py", "does not exist"),
        ("model.pth", "does not exist"),
        ("no_such_package_q.mod:Net", "no module 'no_such_package_q'"),
        ("torch.no_such_module_q:Net", "no module 'torch.no_such_module_q'"),
    ],
)
def test_what_is_not_there_is_said(text: str, said: str) -> None:
    assert said in complaint(text)


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    folder = tmp_path / "net.py"
    folder.mkdir()
    assert "is a folder" in complaint(f"{folder}:Net")


@pytest.mark.parametrize(
    ("text", "line", "said"),
    [
        ("x = 1\n1 / 0\n", 2, "ZeroDivisionError: division by zero"),
        ("import sys\n\nsys.exit(3)\n", 3, "sys.exit(3)"),
        ("raise SystemExit\n", 1, "sys.exit(None)"),
        ("x = 1\ndef f(:\n  pass\n", 2, "SyntaxError"),
        ("import no_such_module_q\n", 1, "No module named 'no_such_module_q'"),
        ("from . import blocks\n", 1, "add an __init__.py"),
        ("raise ValueError('one\\ntwo')\n", 1, "ValueError: one two"),
    ],
)
def test_a_file_that_does_not_import_is_named_with_its_line(
    write: Write, text: str, line: int, said: str
) -> None:
    path = write("net.py", text)
    before = set(sys.modules)
    message = complaint(f"{path}:Net")
    assert f"{path}:{line}" in message
    assert said in message
    assert not [name for name in set(sys.modules) - before if name.startswith("net_")]


def test_the_line_is_the_users_own_even_where_a_library_raised(write: Write) -> None:
    path = write("net.py", "import torch\n\ntorch.zeros(2) @ torch.zeros(3)\n")
    assert f"({path}:3)" in complaint(f"{path}:Net")
    helper = write("helper.py", "def fail():\n    raise KeyError('x')\n")
    path = write("net.py", "import helper\nhelper.fail()\n")
    assert f"({helper}:2)" in complaint(f"{path}:Net")


def test_a_package_that_does_not_import_is_named_with_its_line(write: Write) -> None:
    write("mypkg_c/__init__.py", "")
    path = write("mypkg_c/net.py", "import mypkg_c.gone\n")
    assert f"({path}:1)" in complaint(f"{path}:Net")
    assert f"({path}:1)" in complaint(f"{path}")


def test_no_name_lists_modules_and_factories(write: Write) -> None:
    path = write(
        "net.py",
        NET
        + """
    from torch.nn import Conv2d
    from functools import partial
    class NotAModule: ...
    def make() -> Net: return Net()
    def helper() -> int: return 1
    def text() -> "str": return ""
    def _private(): return Net()
    ready = Net()
    """,
    )
    message = complaint(path)
    assert "Modules: Net, ready; factories: make" in message
    assert f"{path}:Net" in message
    for hidden in ("Conv2d", "NotAModule", "helper", "_private", "text"):
        assert hidden not in message
    empty = write("empty.py", "x = 1")
    assert "no Modules and no factories" in complaint(empty)


def test_an_unknown_name_in_a_file_has_near_misses(write: Write) -> None:
    path = write("net.py", NET)
    assert "did you mean Net?" in complaint(f"{path}:Ner")
    assert "it has: Net" in complaint(f"{path}:Xyzzy")


def test_arguments_that_are_needed_are_named(write: Write) -> None:
    path = write(
        "net.py",
        """
        from torch import nn
        class Net(nn.Module):
            def __init__(self, depth, width, *, rate, classes=3): super().__init__()
        def make(depth, /): return Net()
        def free(**options): return nn.Linear(**options)
        """,
    )
    message = complaint(f"{path}:Net", "width=3")
    assert "needs arguments: depth, rate; give --arg depth=… --arg rate=…" in message
    assert "needs arguments: depth; give" in complaint(f"{path}:make")
    message = complaint(f"{path}:Net", "widht=3")
    assert "no argument 'widht' (did you mean width?)" in message
    assert "depth, width, rate, classes" in message
    options = ["in_features=2", "out_features=3"]
    assert loaded(f"{path}:free", *options).model.out_features == 3


def test_an_exception_in_a_constructor_is_named_with_its_line(write: Write) -> None:
    path = write(
        "net.py",
        """\
        from torch import nn
        class Net(nn.Module):
            def __init__(self):
                super().__init__()
                self.conv = Conv2d(3, 3, 3)
        class Size(nn.Module):
            def __init__(self):
                super().__init__()
                self.conv = nn.Conv2d(3, 3, 3, groups=2)
        def stop(): raise SystemExit("enough")
        """,
    )
    message = complaint(f"{path}:Net")
    assert f"{path}:5" in message
    assert "NameError" in message
    assert f"({path}:9)" in complaint(f"{path}:Size")
    message = complaint(f"{path}:stop")
    assert "enough" in message
    assert f"{path}:10" in message


def test_what_makes_no_module_is_said(write: Write) -> None:
    path = write("net.py", "def make(): return {}\nnumber = 3\nclass Plain: ...\n")
    assert "returned a dict, not a torch.nn.Module" in complaint(f"{path}:make")
    assert "returned a Plain" in complaint(f"{path}:Plain")
    assert "is of type int, not a Module" in complaint(f"{path}:number")


def test_a_module_takes_no_arguments(write: Write) -> None:
    path = write("net.py", "from torch import nn\nready = nn.Linear(2, 2)\n")
    assert "takes no --arg" in complaint(f"{path}:ready", "width=3")


@pytest.mark.filterwarnings("ignore:.*torch.jit.script")
def test_a_script_module_is_refused(write: Write) -> None:
    path = write(
        "net.py", "import torch\ndef make(): return torch.jit.script(torch.nn.Linear(2, 2))\n"
    )
    assert "ScriptModule" in complaint(f"{path}:make")


def test_a_new_loader_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    def mine(spec: ModelSpec) -> Loaded | None:
        if not spec.text.startswith("mine:"):
            return None
        return Loaded(model=nn.Linear(1, 1), name="mine", source="here")

    monkeypatch.setitem(LOADERS, "mine", mine)
    # The module loader would take "mine:x" for a module called mine.
    monkeypatch.delitem(LOADERS, "module")
    assert loaded("mine:x").source == "here"


@pytest.mark.parametrize("kind", LOADERS)
def test_every_loader_passes_on_what_is_not_its_kind(kind: str) -> None:
    assert LOADERS[kind](ModelSpec(text="no kind of model at all")) is None


def test_loaded_runs_where_there_is_no_folder() -> None:
    result: Any = loaded("resnet20")
    with result.running():
        assert result.model.eval()(torch.zeros(1, 3, 32, 32)).shape == (1, 10)
