"""What every type of the API is made of: the base model, and rules written once for both judges.

A `Rule` holds its Python check and its CEL twin side by side with the one message that both give,
so neither can be changed without the other in view. It guards a whole object (`ApiModel.rules`) or
a single field (as `Annotated` metadata). A parity test sends the same manifests to both.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    model_validator,
)
from pydantic.alias_generators import to_camel
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import PydanticCustomError, core_schema

VALIDATIONS = "x-kubernetes-validations"


@dataclass(frozen=True, slots=True)
class Rule:
    """A condition that a value must meet, in Python and in CEL (`self` is the value)."""

    message: str
    cel: str
    holds: Callable[[Any], bool]

    def as_cel(self) -> dict[str, str]:
        """Its entry in `x-kubernetes-validations`."""
        return {"rule": self.cel, "message": self.message}

    def __get_pydantic_core_schema__(
        self, source: Any, handler: GetCoreSchemaHandler
    ) -> core_schema.CoreSchema:
        """Check a field after its type."""
        return core_schema.no_info_after_validator_function(self._check, handler(source))

    def __get_pydantic_json_schema__(
        self, schema: core_schema.CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        """Add the CEL twin to the field."""
        result = dict(handler(schema))
        result[VALIDATIONS] = [*result.get(VALIDATIONS, []), self.as_cel()]
        return result

    def _check(self, value: Any) -> Any:
        if not self.holds(value):
            raise PydanticCustomError("rule", "{message}", {"message": self.message})
        return value


class ApiModel(BaseModel):
    """Immutable, camelCase outside and snake_case inside, and without room for unknown fields."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        alias_generator=to_camel,
        validate_by_name=True,
        validate_by_alias=True,
    )
    rules: ClassVar[tuple[Rule, ...]] = ()

    def __deepcopy__(self, memo: dict[int, Any] | None = None) -> Self:
        """Itself: nothing changes it. Pydantic copies each default block on each use otherwise."""
        return self

    @model_validator(mode="after")
    def _keep_rules(self) -> Self:
        broken = [rule.message for rule in self.rules if not rule.holds(self)]
        if broken:
            raise PydanticCustomError("rule", "{message}", {"message": "; ".join(broken)})
        return self

    @classmethod
    def __get_pydantic_json_schema__(
        cls, schema: core_schema.CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        """Add the CEL twins of the object's own rules."""
        result = handler.resolve_ref_schema(handler(schema))
        if cls.rules:
            result[VALIDATIONS] = [rule.as_cel() for rule in cls.rules]
        return result

    def to_manifest(self) -> dict[str, Any]:
        """JSON values under the API's own names, without what is unset."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True)


class StatusModel(ApiModel):
    """Part of a status: fields that a newer release wrote are passed over."""

    model_config = ConfigDict(extra="ignore")
