"""Has the SPDX project's own library read a document, and looks at what the specification says beside the library's shapes.

Run by hand when the example changes, in a virtual environment outside of the repository:

    python3 -m venv ../venv && ../venv/bin/pip install spdx-python-model==0.0.6 jsonschema
    ../venv/bin/python inference/factory/tests/data/validate_spdx.py [FILE] [SCHEMA]

Both examples are read where no FILE is given. SCHEMA is SPDX' own spdx-json-schema.json of 3.0.1, for those who have it at hand. Nothing
is fetched.
"""
import io
import json
import pathlib
import sys

from spdx_python_model import v3_0_1 as spdx

INDIVIDUALS = {'https://spdx.org/rdf/3.0.1/terms/Core/NoAssertionElement',
               'https://spdx.org/rdf/3.0.1/terms/ExpandedLicensing/NoAssertionLicense'}
# What the classes of the AI and Dataset profiles ask for beyond those that they come from.
ASKED = {'ai_AIPackage': ['releaseTime', 'suppliedBy', 'software_downloadLocation', 'software_packageVersion', 'software_primaryPurpose'],
         'dataset_DatasetPackage': ['builtTime', 'originatedBy', 'releaseTime', 'software_downloadLocation', 'software_primaryPurpose'],
         'software_Package': ['name'], 'software_File': ['name']}


def complaints(path, schema):
    whole = json.loads(path.read_text())
    objects = spdx.SHACLObjectSet()
    with open(path, 'rb') as file:
        spdx.JSONLDDeserializer().read(file, objects)
    for missing in objects.link() - INDIVIDUALS:
        yield f'{missing} is named and not there'
    # Writing looks at all counts and types.
    again = io.BytesIO()
    spdx.JSONLDSerializer().write(objects, again)
    read = {node.get('spdxId', node.get('@id')): node for node in json.loads(again.getvalue())['@graph']}
    graph = whole['@graph']
    for node in graph:
        key = node.get('spdxId', node.get('@id'))
        said = read.get(key) or next(iter(one for one in read.values() if one['type'] == node['type'] == 'CreationInfo'), {})
        lost = [name for name in node if name not in said]
        if lost:
            yield f'{key}: the library does not give back {lost}'
        for name in ASKED.get(node['type'], []):
            if name not in node:
                yield f'{key}: no {name}'
    if sum(node['type'] == 'SpdxDocument' for node in graph) != 1:
        yield 'not one SpdxDocument'
    for node in graph:
        if node['type'] in ('ai_AIPackage', 'dataset_DatasetPackage'):
            for kind in ('hasDeclaredLicense', 'hasConcludedLicense'):
                count = sum(one.get('relationshipType') == kind and one['from'] == node['spdxId'] for one in graph)
                if count != 1:
                    yield f'{node["spdxId"]}: {count} of {kind}'
    if schema:
        import jsonschema
        for error in jsonschema.Draft202012Validator(json.loads(schema.read_text())).iter_errors(whole):
            yield f'schema: {error.message[:300]}'


def good(path, schema):
    said = list(complaints(path, schema))
    for one in said:
        print('complaint:', one)
    kinds = {}
    for node in json.loads(path.read_text())['@graph']:
        kinds[node['type']] = kinds.get(node['type'], 0) + 1
    print(f'{path.name}:', ', '.join(f'{count} {kind}' for kind, count in sorted(kinds.items())), '-', 'bad' if said else 'good')
    return not said


def main():
    paths = [pathlib.Path(one) for one in sys.argv[1:]]
    examples = sorted((pathlib.Path(__file__).parent / 'papers').glob('*.json'))
    schema = paths[1] if len(paths) > 1 else None
    sys.exit(0 if all([good(path, schema) for path in paths[:1] or examples]) else 1)


if __name__ == '__main__':
    main()
