"""JSON schema (draft 7), as much of it as clipvil_mmf.describing.schema writes."""

import re

_KINDS = {
    **{"object": dict, "array": list, "string": str, "null": type(None), "boolean": bool},
    **{"number": (int, float), "integer": int},
}


def errors(value, schema, whole, where=""):
    """Each place that does not fit, as a text."""
    if "$ref" in schema:  # what stands beside it is not read
        schema = whole["definitions"][schema["$ref"].rpartition("/")[2]]
    found = []
    kind = _KINDS.get(schema.get("type"))
    if kind and (not isinstance(value, kind) or (kind in (int, (int, float)) and value is True)):
        return [f"{where}: {value!r} is not of type {schema['type']}"]
    if "enum" in schema and value not in schema["enum"]:
        found.append(f"{where}: {value!r} is not in {schema['enum']}")
    if "const" in schema and value != schema["const"]:
        found.append(f"{where}: {value!r} is not {schema['const']}")
    if "pattern" in schema and not re.search(schema["pattern"], value):
        found.append(f"{where}: {value!r} does not match")
    if "minimum" in schema and value < schema["minimum"]:
        found.append(f"{where}: {value!r} is too small")
    if "exclusiveMaximum" in schema and value >= schema["exclusiveMaximum"]:
        found.append(f"{where}: {value!r} is too large")
    if isinstance(value, dict):
        keys = schema.get("properties", {})
        for name, inside in value.items():
            if name in keys:
                found += errors(inside, keys[name], whole, f"{where}.{name}")
            elif schema.get("additionalProperties") is False:
                found.append(f"{where}.{name}: unknown")
        found += [f"{where}.{n}: missing" for n in schema.get("required", []) if n not in value]
    if isinstance(value, list):
        for index, entry in enumerate(value):
            found += errors(entry, schema.get("items", {}), whole, f"{where}[{index}]")
    if "anyOf" in schema:
        branches = [errors(value, part, whole, where) for part in schema["anyOf"]]
        found += [] if [] in branches else min(branches, key=len)
    for part in schema.get("allOf", []):
        found += errors(value, part, whole, where)
    if "not" in schema and not errors(value, schema["not"], whole):
        found.append(f"{where}: fits what it must not")
    if "if" in schema and not errors(value, schema["if"], whole):
        found += errors(value, schema["then"], whole, where)
    return found
