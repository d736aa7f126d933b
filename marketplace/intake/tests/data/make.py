"""Writes the Parquet files of the tests, as Python programs write them. Run by hand: pip install pyarrow; python make.py"""

import pathlib

import pyarrow as pa
import pyarrow.parquet as pq

HERE = pathlib.Path(__file__).parent

pairs = pa.table({
    "id": pa.array([1, 2, 3], pa.int64()),
    "question": ["Who owns a wreck?", "What is a neap tide?", None],
    "answer": ["Its owner keeps it.", "The lowest high water, at half moon.", "Nothing was asked."],
    "score": pa.array([0.5, 1.0, None], pa.float64()),
})
pq.write_table(pairs, HERE / "pairs.parquet", compression="snappy")

turn = pa.struct([("role", pa.string()), ("content", pa.string())])
talks = pa.table({
    "messages": pa.array([
        [{"role": "user", "content": "Q"}, {"role": "assistant", "content": "A"}],
        [],
        [{"role": "user", "content": "Again?"}, {"role": "assistant", "content": "Yes."}],
    ], pa.list_(turn)),
})
pq.write_table(talks, HERE / "messages.parquet", compression="snappy", row_group_size=2)
pq.write_table(pairs, HERE / "zstd.parquet", compression="zstd")
