"""Holds a Bundle against the models of FHIR R4 (fhir.resources, R4B): structure, types, cardinalities, required codes.

Reads a Bundle from standard input and writes one line for each entry, `ok TYPE`; whatever is wrong is said as `BAD: reason`.
R4B is R4 but for resources that do not stand in ours. References inside the Bundle must lead to one of its entries.
"""

import json
import sys

from fhir.resources.R4B.bundle import Bundle

# What the models do not hold: bindings of the R4 specification whose strength is `required`.
CODES = {
    "DetectedIssue": {"status": {"registered", "preliminary", "final", "amended", "corrected", "cancelled",
                                 "entered-in-error", "unknown"},
                      "severity": {"high", "moderate", "low", None}},
    "Observation": {"status": {"registered", "preliminary", "final", "amended", "corrected", "cancelled",
                               "entered-in-error", "unknown"}},
    "Device": {"status": {"active", "inactive", "entered-in-error", "unknown", None}},
}


def references(value):
    if isinstance(value, dict):
        if "reference" in value:
            yield value["reference"]
        for inner in value.values():
            yield from references(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from references(inner)


def main():
    text = sys.stdin.buffer.read()
    try:
        bundle = Bundle.model_validate_json(text)
        raw = json.loads(text)
        urls = [entry["fullUrl"] for entry in raw.get("entry", [])]
        assert len(urls) == len(set(urls)), "a fullUrl stands twice"
        for entry in raw.get("entry", []):
            resource = entry["resource"]
            for field, allowed in CODES[resource["resourceType"]].items():
                assert resource.get(field) in allowed, f"{resource['resourceType']}.{field}: {resource.get(field)}"
            for reference in references(resource):
                assert reference in urls, f"{reference} leads nowhere"
        for entry in bundle.entry or []:
            print("ok", entry.resource.__class__.__name__)
    except Exception as error:  # whatever it finds, it says
        print(f"BAD: {type(error).__name__}: {str(error)[:2000]}")


main()
