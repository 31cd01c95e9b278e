"""Page of the columns of the predictions table, from its schema and the comments beside it."""

from __future__ import annotations

import inspect
import re

from docs_site.tables import plain, table
from rsam_app.run import predictions

COLUMN = re.compile(r'^ +\("(\w+)", .*\),  # (.+)$', re.M)


def columns() -> list[tuple[str, str, str]]:
    """Every fixed column's name, type and meaning; the meaning is the comment beside it."""
    meanings = dict(COLUMN.findall(inspect.getsource(predictions)))
    return [(field.name, str(field.type), meanings[field.name]) for field in predictions.SCHEMA]


def predictions_page() -> str:
    """The page of the predictions table."""
    about = (
        "`rsam predict RUN` writes `RUN/predictions/SPLIT.parquet`: one row per image. Every further column is a"
        " score (`float`): see [Scores, triage and views](../scores.md). A model with a taxonomy adds `sure`,"
        " `sure_level` and `sure_probability`: the finest node that is sure, its level and its probability"
        " ([a hierarchy of the classes](../scores.md#a-hierarchy-of-the-classes)). The embeddings are beside the table,"
        " in `SPLIT.embeddings.npy`, in the order of its rows."
    )
    rows = [(f"`{name}`", f"`{kind}`", plain(meaning)) for name, kind, meaning in columns()]
    return f"# Columns of predictions\n\n{about}\n\n{table(('column', 'type', 'meaning'), rows)}"
