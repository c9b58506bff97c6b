"""States in files: they come back as they were; what is damaged, foreign or made to harm is refused by the one error."""

import os
import pickle
import tracemalloc

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from importance_sampling import HistoryImportance, ImportanceSampler
from importance_sampling.data import state_file
from importance_sampling.data.state_file import StateFileError, previous, read_state, write_state

STATE = {
    "rng": np.random.default_rng(0).bit_generator.state,
    "means": np.array([1.5, np.nan, np.inf], np.float32),
    "empty": np.zeros((0, 3)),
    "step": 7,
    "nested": {"deeper": {"text": "a b\nc é", "nothing": None, "yes": True, "tiny": 5e-324}},
}
NAMES = st.text(st.characters(blacklist_characters="/\0", blacklist_categories=("Cs",)), min_size=1, max_size=8).filter(
    lambda s: s != "."
)
ARRAYS = hnp.arrays(
    st.sampled_from([np.float32, np.float64, np.int64, np.int32, bool]), hnp.array_shapes(min_dims=0, max_dims=3, min_side=0)
)
LEAVES = st.one_of(
    ARRAYS,
    st.integers(),
    st.floats(allow_nan=False),
    st.booleans(),
    st.none(),
    st.text(st.characters(blacklist_categories=("Cs",), blacklist_characters="\0")),
)
STATES = st.dictionaries(
    NAMES, st.recursive(LEAVES, lambda leaf: st.dictionaries(NAMES, leaf, max_size=4), max_leaves=8), max_size=5
)
MUTATIONS = int(os.environ.get("MUTATIONS", 2000))


def assert_equal(one, other):
    assert type(one) is type(other)
    if isinstance(one, dict):
        assert set(one) == set(other)
        for name in one:
            assert_equal(one[name], other[name])
    elif isinstance(one, np.ndarray):
        assert one.dtype == other.dtype
        np.testing.assert_array_equal(one, other)
    else:
        assert one == other


def test_a_state_comes_back_as_it_was(tmp_path):
    write_state(tmp_path / "state.h5", STATE)
    assert_equal(read_state(tmp_path / "state.h5"), STATE)
    np.random.default_rng().bit_generator.state = read_state(tmp_path / "state.h5")["rng"]


@settings(deadline=None, max_examples=60)
@given(state=STATES)
def test_any_state_comes_back_as_it_was(state, tmp_path_factory):
    path = tmp_path_factory.mktemp("state") / "state"
    write_state(path, state)
    assert_equal(read_state(path), state)


def test_large_arrays_are_written_in_chunks(tmp_path, monkeypatch):
    monkeypatch.setattr(state_file, "_CHUNK", 1000)
    state = {"means": np.random.default_rng(0).normal(size=(777, 3)), "one": np.full((), 3.0)}
    write_state(tmp_path / "state", state)
    assert_equal(read_state(tmp_path / "state"), state)


def test_the_one_before_is_kept_and_nothing_else_is_left(tmp_path):
    path = tmp_path / "state.h5"
    for step in range(4):
        write_state(path, {"step": step})
    assert read_state(path) == {"step": 3} and read_state(previous(path)) == {"step": 2}
    assert sorted(os.listdir(tmp_path)) == ["state.h5", "state.h5.previous"]


@pytest.mark.parametrize("bad", [{"a": object()}, {"a": np.array(["x"])}, {1: 2}, {"a/b": 1}, {"a": [1]}])
def test_what_is_no_state_leaves_the_file_as_it_was(tmp_path, bad):
    path = tmp_path / "state.h5"
    write_state(path, {"step": 1})
    with pytest.raises(ValueError, match="`state` must have"):
        write_state(path, bad)
    assert read_state(path) == {"step": 1} and os.listdir(tmp_path) == ["state.h5"]


def test_every_mutated_file_is_refused_by_the_one_error(tmp_path):
    """Bits turned, bytes cut off, added, and overwritten by others."""
    path = tmp_path / "state.h5"
    write_state(path, STATE)
    whole, rng = path.read_bytes(), np.random.default_rng(0)
    for _ in range(MUTATIONS):
        changed = bytearray(whole)
        kind = rng.integers(4)
        if kind == 0:
            changed[rng.integers(len(whole))] ^= 1 << rng.integers(8)
        elif kind == 1:
            del changed[rng.integers(len(whole)) :]
        elif kind == 2:
            changed += rng.bytes(rng.integers(1, 100))
        else:
            start = rng.integers(len(whole))
            part = rng.bytes(rng.integers(1, 64))
            changed[start : start + len(part)] = part
        if bytes(changed) == whole:
            continue
        path.write_bytes(changed)
        with pytest.raises(StateFileError, match="`path` must be a state"):
            read_state(path)


def sign(path, content):
    path.write_bytes(content)
    with path.open("rb") as file:
        digest = state_file._digest(file)
    header = state_file._MAGIC + f"{len(content)} {digest}\n".encode()
    path.write_bytes(header.ljust(state_file._HEADER, b"\0") + content[state_file._HEADER :])


def virtual():
    """What would be read from another file."""
    layout = h5py.VirtualLayout((5,), "f8")
    layout[:] = h5py.VirtualSource("other.h5", "a", (5,))
    return layout


def crafted(path, write):
    with h5py.File(path, "w", userblock_size=state_file._HEADER) as file:
        write(file)
    sign(path, path.read_bytes())


@pytest.mark.parametrize(
    "write",
    [
        lambda file: file.create_dataset("a", (10**12,), "f8", chunks=(1000,)),
        lambda file: file.create_dataset("a", (10**11,), "f4"),
        lambda file: file.create_dataset("a", data=np.arange(9), chunks=(3,), compression="gzip"),
        lambda file: file.__setitem__("a", h5py.ExternalLink("/etc/passwd", "/")),
        lambda file: file.__setitem__("a", h5py.SoftLink("/")),
        lambda file: file.create_dataset("a", (100,), "u1", external=[("/etc/hostname", 0, 100)]),
        lambda file: file.create_dataset("a", data="text"),
        lambda file: file.attrs.__setitem__("a", "code import os"),
        lambda file: file.attrs.__setitem__("a", 3),
        lambda file: file.create_group("a").__setitem__("again", file),
        lambda file: file.create_group("a").__setitem__("b", file.create_dataset("c", data=np.arange(9))),
        lambda file: file.__setitem__("b", file.create_group("a")),
        lambda file: file.create_virtual_dataset("a", virtual()),
    ],
)
def test_what_is_made_to_harm_is_refused(tmp_path, write):
    crafted(tmp_path / "state.h5", write)
    with pytest.raises(StateFileError, match="damaged"):
        read_state(tmp_path / "state.h5")


def test_foreign_files_and_no_file(tmp_path):
    path = tmp_path / "state.h5"
    for content in (b"", b"hello", pickle.dumps({"a": 1}), b"importance_sampling state 2 100 abc\n"):
        path.write_bytes(content)
        with pytest.raises(StateFileError, match="no state of this library"):
            read_state(path)
    with h5py.File(path, "w") as file:
        file["a"] = 1
    with pytest.raises(StateFileError, match="no state of this library"):
        read_state(path)
    with pytest.raises(FileNotFoundError):
        read_state(tmp_path / "none")
    with pytest.raises(FileNotFoundError, match="`path` could not be written. Received: '.*state', No such file"):
        write_state(tmp_path / "none" / "state", {})


def test_arrays_that_share_their_bytes_are_refused(tmp_path):
    """Two names for the same place in the file, made by changing the address in the header of one."""
    path = tmp_path / "state.h5"
    with h5py.File(path, "w", userblock_size=state_file._HEADER, libver="latest") as file:
        places = [file.create_dataset(name, data=np.arange(1000.0)).id.get_offset() for name in ("a", "b", "c")]
    content, base = path.read_bytes(), state_file._HEADER
    first = (places[0] - base).to_bytes(8, "little")
    for place in places[1:]:
        assert content.count((place - base).to_bytes(8, "little")) == 1
        content = content.replace((place - base).to_bytes(8, "little"), first)
    sign(path, content)
    with pytest.raises(StateFileError, match="damaged"):
        read_state(path)


def test_the_one_before_is_offered(tmp_path):
    path = tmp_path / "state.h5"
    for step in range(2):
        write_state(path, {"step": step})
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(StateFileError, match="The one before it is .*state.h5.previous"):
        read_state(path)


def test_a_large_history_is_written_without_a_second_copy(tmp_path):
    """Twenty million samples, 80 MB: what is taken besides are chunks that are written."""
    sampler = ImportanceSampler(Samples(20_000_000), HistoryImportance(), classes=0, presample=1000, seed=0)
    sampler.draw(10)
    tracemalloc.start()
    sampler.save_state(tmp_path / "state.h5")
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 40_000_000 < 80_000_000 < (tmp_path / "state.h5").stat().st_size
    before = sampler.get_state()["importance"]["means"]
    sampler.importance.update(np.array([3]), None, np.array([1.0]))
    assert np.isnan(before[3])  # a state in memory is a copy


class Samples:
    """N samples that nobody reads."""

    targets = ()

    def __init__(self, size):
        self._size = size

    def __len__(self):
        return self._size
