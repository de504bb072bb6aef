"""The section ``[cluster]`` and the option ``--dask``: an address that is none is told before anything is begun."""

import pytest

from tests.unit.trainer.cli.projects import write_small_project
from trainer.errors import ProjectError
from trainer.project.cluster import ClusterSection
from trainer.project.loading import load_project, with_dask


def with_cluster(folder, text):
    write_small_project(folder)
    file = folder / "fieldloop.toml"
    file.write_text(file.read_text() + f"\n[cluster]\n{text}\n")
    return folder


def test_files_start_from_the_projects_folder_and_no_record_holds_the_section(tmp_path):
    text = 'dask = "tls://head:8786"\nca = "ca.pem"\ncertificate = "me.pem"'
    loaded = load_project(with_cluster(tmp_path, text))
    assert loaded.cluster == ClusterSection(
        dask="tls://head:8786", ca=str(tmp_path / "ca.pem"), certificate=str(tmp_path / "me.pem")
    )
    assert loaded.project.cluster == ClusterSection()


def test_the_option_comes_before_the_file_and_keeps_its_certificates_where_they_are_used(tmp_path):
    loaded = load_project(with_cluster(tmp_path, 'dask = "tls://head:8786"\nca = "ca.pem"'))
    assert with_dask(loaded, None) == loaded
    assert with_dask(loaded, "tls://other:1").cluster == ClusterSection(dask="tls://other:1", ca=loaded.cluster.ca)
    assert with_dask(loaded, "tcp://other:1").cluster == ClusterSection(dask="tcp://other:1")


@pytest.mark.parametrize("address", ["head", "head:8786", "http://head:8786", "tcp://head", "tcp://:1", "tcp://h:x"])
def test_an_address_that_is_none_is_refused(tmp_path, address):
    loaded = load_project(write_small_project(tmp_path))
    with pytest.raises(ProjectError, match=r"--dask: .* is no address of a Dask scheduler; it is tcp://HOST:PORT"):
        with_dask(loaded, address)
    with pytest.raises(ProjectError, match=r"key 'cluster\.dask': .* is no address"):
        load_project(with_cluster(tmp_path, f'dask = "{address}"'))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('dask = "tcp://head:1"\nca = "ca.pem"', "'cluster.ca': tcp://head:1 is not encrypted"),
        ('dask = "tls://head:1"\nkey = "me.key"', "'cluster.key': a key without its certificate"),
        ('dusk = "tcp://head:1"', "dusk"),
    ],
)
def test_a_section_that_contradicts_itself_is_refused(tmp_path, text, said):
    with pytest.raises(ProjectError, match=said):
        load_project(with_cluster(tmp_path, text))
