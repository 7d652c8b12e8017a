"""What a setting is: a typed field with a default, a range and one line of help.

Classes of settings are pydantic models. The schema of config.yaml, the flags of `ra`,
docs/config.md and docs/cli.md are generated from them (tools/generate.py).
"""

import re
from collections.abc import Callable, Mapping
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from ra.errors import UserError, unknown

Model = TypeVar("Model", bound=BaseModel)


class Settings(BaseModel):
    """Base of all settings: fixed once made, finite numbers, no unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


def setting(default: Any, help: str, **more: Any) -> Any:
    """A field of a ``Settings`` class.

    Args:
        default: ``...`` where the user has to give a value.
        help: one line: the meaning, with the unit.
        more: limits (``ge``, ``gt``, ``le``, ``min_length``, ``pattern``), and what concerns the
            command line only: ``flag`` (its name), ``metavar``, ``positional``, ``registry`` (the
            settings of this registry's classes are flags as well, behind ``prefix``).
    """
    cli = {key: more.pop(key) for key in CLI_KEYS & more.keys()}
    return Field(default, description=help, json_schema_extra={"cli": cli} if cli else None, **more)


CLI_KEYS = {"flag", "metavar", "positional", "registry", "prefix", "group"}


def _no_truth(value: Any) -> Any:
    if isinstance(value, bool):
        raise ValueError(f"{value} is no number")
    return value


Int = Annotated[int, BeforeValidator(_no_truth)]
Float = Annotated[float, BeforeValidator(_no_truth)]


def checked(
    model: type[Model],
    given: Mapping[str, Any],
    where: str = "",
    name: Callable[[list[str]], str] = ".".join,
) -> Model:
    """``given`` as a ``model``.

    Args:
        where: what precedes a setting in messages: "config key ".
        name: how messages name a setting, from the keys that lead to it.

    Raises:
        UserError: one line: the setting, what is wrong, what is allowed.
    """
    try:
        return model(**given)
    except ValidationError as error:
        raise UserError(where + _one_line(model, error, given, name)) from None


def _one_line(model: type[BaseModel], error: ValidationError, given, name: Callable) -> str:
    fault = max(error.errors(), key=lambda one: len(one["loc"]))
    keys = _as_given([part for part in fault["loc"] if not _names_a_type(part)], given)
    field, owner = _field(model, keys)
    if fault["type"] == "extra_forbidden":
        return name([*keys[:-1], str(unknown("key", keys[-1], owner.model_fields))])
    hint = f" ({field.description})" if field and field.description else ""
    if fault["type"] == "missing":
        return f"{name(keys)}: missing{hint}"
    value = str(fault["input"]) if isinstance(fault["input"], float) else repr(fault["input"])
    value = value if len(value) < 80 else value[:77] + "..."
    message = fault["msg"].removeprefix("Value error, ")
    message = re.sub(
        r"^(Input|String|Tuple|Dictionary|List) should", lambda _: f"{value} should", message
    )
    return f"{name(keys)}: {message}{hint}".replace("\n", " ")


def _as_given(keys: list[int | str], given: Any) -> list[str]:
    """``keys`` without positions in lists that the user wrote as one value."""
    kept = []
    for key in keys:
        if isinstance(key, int) and not isinstance(given, list | tuple):
            continue
        kept.append(str(key))
        try:
            given = given[key]
        except (KeyError, IndexError, TypeError):
            given = None
    return kept


def _names_a_type(part: int | str) -> bool:
    """Of a union pydantic adds the member that failed to the place of the fault."""
    return isinstance(part, str) and (
        part in ("int", "float", "str", "bool")
        or "[" in part
        or part.startswith(("function-", "constrained-"))
    )


def _field(model: type[BaseModel], keys: list[str]):
    """(field, class) that ``keys`` lead to; the field is None where a key is unknown."""
    field = None
    for key in keys:
        found = model.model_fields.get(key) or next(
            (one for one in model.model_fields.values() if one.alias == key), None
        )
        if found is None:
            break
        field = found
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            model = field.annotation
    return field, model
