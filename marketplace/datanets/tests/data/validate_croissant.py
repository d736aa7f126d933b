"""Has mlcroissant read the example export: the document without an error or warning, and every record of its file.

Run by hand when the example changes, in a virtual environment outside of the repository:

    python3 -m venv ../venv && ../venv/bin/pip install mlcroissant==1.1.1
    ../venv/bin/python marketplace/datanets/tests/data/validate_croissant.py

With a path as argument it reads that document instead.
"""

import json
import logging
import pathlib
import sys

import mlcroissant


class Complaints(logging.Handler):
    """Keeps what is logged as a warning or worse."""

    def __init__(self):
        super().__init__(logging.WARNING)
        self.said = []

    def emit(self, record):
        self.said.append(record.getMessage())


def main():
    default = pathlib.Path(__file__).parent / "croissant" / "croissant.json"
    path = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else default)
    complaints = Complaints()
    logging.getLogger("absl").addHandler(complaints)
    dataset = mlcroissant.Dataset(jsonld=str(path))
    issues = dataset.metadata.ctx.issues
    said = list(issues.errors) + list(issues.warnings) + complaints.said
    for one in said:
        print("complaint:", one)
    records = list(dataset.records(record_set="records"))
    print(f"{dataset.metadata.name} {dataset.metadata.version}: {len(records)} records")
    for record in records:
        print("  ", json.dumps({key: str(value) for key, value in record.items()}))
    lines = [json.loads(line) for line in (path.parent / "items.jsonl").read_text().splitlines()]
    same = [str(record["records/place"]) for record in records] == [str(line["place"]) for line in lines]
    rai = [name for name in ("data_collection", "data_limitations", "data_biases", "personal_sensitive_information")
           if not getattr(dataset.metadata, name)]
    if rai:
        print("not understood:", rai)
    sys.exit(1 if said or rai or not same else 0)


if __name__ == "__main__":
    main()
