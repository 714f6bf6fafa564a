import pytest

from models.bundle import BundleError
from models.preferences import FILE, Preferences, read_preferences
from service.settings import SHIPPED_ARTIFACTS


def test_the_shipped_folder_prefers_the_pair_of_the_article() -> None:
    assert read_preferences(SHIPPED_ARTIFACTS) == Preferences("keras-bn", "keras-baseline")


def test_a_folder_without_the_file_prefers_nothing(tmp_path) -> None:
    assert read_preferences(tmp_path) == Preferences(None, None)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"default = 'a'", "unknown key 'default'; known: default_model, shadow_model"),
        (b"default_model = 3", "default_model"),
        (b"default_model = ", "preferences.toml"),
        (b"\xff", "may be left out"),
    ],
)
def test_what_cannot_be_used_is_named_with_what_it_may_hold(tmp_path, content, says) -> None:
    (tmp_path / FILE).write_bytes(content)
    with pytest.raises(BundleError, match=says):
        read_preferences(tmp_path)
