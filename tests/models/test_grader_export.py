"""The exported second stage gives the probabilities of torch, whatever views there are."""

from __future__ import annotations

import json
from copy import deepcopy
from dataclasses import replace

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from lumbargrade.domain.errors import BadModel
from lumbargrade.domain.vocabulary import SeriesKind
from lumbargrade.inference.crops import output_names
from lumbargrade.inference.engines import OnnxEngine
from lumbargrade.models import grader_export, starter_export
from lumbargrade.models.grader_export import export_grader, random_inputs
from lumbargrade.starter.grader import crop_config
from small_graders import CROPS, level_network

#: Crops of other sizes, with an encoder that all views share.
WIDE = replace(CROPS, axial_size=48, neighbours=2)


@pytest.fixture(scope="module", params=["a trunk each", "one trunk"])
def exported(request, tmp_path_factory):
    """A network, the size of its crops, its file in single precision, and its deviation."""
    path = tmp_path_factory.mktemp("exported") / "grader.onnx"
    shared = request.param == "one trunk"
    crops = WIDE if shared else CROPS
    network = level_network(shared=shared)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(starter_export, "with_half_weights", lambda model: model)
        return network, crops, path, export_grader(network, crops, path)


@pytest.fixture
def session(exported) -> onnxruntime.InferenceSession:
    return onnxruntime.InferenceSession(exported[2], providers=["CPUExecutionProvider"])


def test_full_and_partial_studies_give_the_probabilities_of_torch(exported, session):
    _, crops, _, deviation = exported
    assert deviation < 1e-4
    assert crop_config(OnnxEngine(exported[2])) == crops
    sizes = {given.name: given.shape for given in session.get_inputs()}
    count = 2 * crops.neighbours + 1
    assert sizes["axial_t2"] == [1, 10, count, crops.axial_size, crops.axial_size]
    assert sizes["sagittal_t1_valid"] == [1, 10, count]
    full, *partial = (session.run(list(output_names()), inputs) for inputs in random_inputs(crops))
    assert [v.shape for v in full] == [(1, 5, 3), (1, 10, 3), (1, 10, 3)]
    for outputs in (full, *partial):
        for values in outputs:
            assert np.isfinite(values).all()
            np.testing.assert_allclose(values.sum(axis=-1), 1, atol=1e-5)
    # the network tells one study from another, so equal outputs mean something
    assert all(np.abs(full[1] - other[1]).max() > 0.01 for other in partial)


def test_pixels_of_an_absent_view_do_not_matter(exported, session):
    for kind in SeriesKind:
        name = kind.name.lower()
        inputs = dict(random_inputs(exported[1])[1 + list(SeriesKind).index(kind)])
        assert not inputs[f"{name}_valid"].any()
        before = session.run(list(output_names()), inputs)
        inputs[name] = 255 - inputs[name]
        for one, other in zip(before, session.run(list(output_names()), inputs), strict=True):
            np.testing.assert_array_equal(one, other)


@pytest.fixture
def traced_before(exported, monkeypatch) -> None:
    """Do not trace the network again."""
    monkeypatch.setattr(grader_export, "traced", lambda *_: onnx.load(exported[2]))


@pytest.mark.usefixtures("traced_before")
def test_weights_are_stored_in_half_precision_which_changes_little(exported, tmp_path):
    network, crops, single, _ = exported
    path = tmp_path / "grader.onnx"
    assert 1e-5 < export_grader(network, crops, path) < 2e-3
    weights = onnx.load(path).graph.initializer
    matrices = [w for w in weights if len(w.dims) > 1 and np.prod(w.dims) >= 64]
    assert {w.data_type for w in matrices} == {onnx.TensorProto.FLOAT16}
    assert path.stat().st_size < 0.65 * single.stat().st_size
    assert b"site-packages" not in path.read_bytes()


@pytest.mark.usefixtures("traced_before")
def test_a_file_that_differs_from_torch_is_not_written(exported, tmp_path):
    network, crops = deepcopy(exported[0]), exported[1]
    with torch.no_grad():
        for head in network.heads:
            head[-1].bias.copy_(torch.tensor([1.0, 0.0, 0.0]) - head[-1].bias)
    with pytest.raises(BadModel, match="differ by"):
        export_grader(network, crops, tmp_path / "grader.onnx")
    for wrong in (torch.nan, torch.inf):
        with torch.no_grad():
            network.heads[0][-1].bias.fill_(wrong)
        with pytest.raises(BadModel, match="differ by inf"):
            export_grader(network, crops, tmp_path / "grader.onnx")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("text", [None, "{", json.dumps({"axial_size": "64"})])
def test_a_file_that_does_not_say_how_large_its_crops_are_is_refused(exported, text, tmp_path):
    model = onnx.load(exported[2])
    del model.metadata_props[:]
    if text is not None:
        model.metadata_props.add(key="lumbargrade-crops", value=text)
    onnx.save(model, tmp_path / "other.onnx")
    with pytest.raises(BadModel, match="lumbargrade-crops"):
        crop_config(OnnxEngine(tmp_path / "other.onnx"))
