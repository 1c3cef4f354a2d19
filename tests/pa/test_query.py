"""`pa sql`: reads anything, changes nothing, answers briefly."""

import pytest

from .program import Program


def test_rows_come_with_names_and_money_can_be_shown(pa: Program) -> None:
    pa.line("expense", "add", "280", "--what", "a|b\nc", "--category", "Food")
    pa.line("expense", "add", "500 JPY")
    query = "SELECT what, money(sum(amount_minor), currency) AS spent, NULL AS n FROM expenses GROUP BY id"
    assert pa.lines("sql", query) == ["what|spent|n", r"a\|b c|280.00 INR|", "|500 JPY|"]
    assert pa.lines("sql", "SELECT * FROM tasks") == ["no rows"]


def test_a_bar_in_a_value_or_a_name_splits_no_columns(pa: Program) -> None:
    """Nor does a backslash at a value's end swallow the bar behind it, nor the cut fall between the two."""
    assert pa.lines("sql", r"SELECT 'a|b' || '!', 'c\' AS d, 'e\|' AS f") == [
        r"'a\|b' \|\| '!'|d|f",
        r"a\|b!|c\\|e\\\|",
    ]
    long = pa.lines("sql", "SELECT printf('%.*c', 5000, '|') AS bars, 'end' AS last")
    assert long == ["bars|last", r"\|" * 199 + "…|end"]


def test_every_row_is_one_line(pa: Program) -> None:
    breaks = "'a' || char(10) || 'b' || char(13, 10) || 'c' || char(8232) || 'd' || char(11, 12, 133) || 'e'"
    assert pa.lines("sql", f"SELECT {breaks} AS what, 1 AS n") == ["what|n", "a b c d e|1"]


def test_it_works_before_there_is_a_database(pa: Program) -> None:
    assert pa.lines("sql", "SELECT count(*) FROM expenses") == ["count(*)", "0"]


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM expenses",
        "UPDATE expenses SET amount_minor = 1",
        "INSERT INTO goals (kind, value, created_at) VALUES ('a', 1, '2026-11-23T03:00:00Z')",
        "DROP TABLE expenses",
        "CREATE TABLE x (id INTEGER PRIMARY KEY)",
        "CREATE TEMP TABLE x (id INTEGER PRIMARY KEY)",
        "ATTACH '{other}' AS other",
        "VACUUM INTO '{other}'",
        "PRAGMA user_version = 9",
        "PRAGMA writable_schema = ON",
        "PRAGMA query_only = OFF",
        "WITH x AS (SELECT 1) DELETE FROM expenses",
        "BEGIN",
    ],
)
def test_every_write_is_refused(pa: Program, statement: str) -> None:
    pa.line("expense", "add", "280")
    other = pa.database_path.with_name("other.sqlite")
    assert "pa sql only reads" in pa.refusal("sql", statement.format(other=other))
    assert not other.exists()
    assert pa.row("SELECT amount_minor FROM expenses") == {"amount_minor": 28000}


def test_a_second_statement_is_refused(pa: Program) -> None:
    pa.line("expense", "add", "280")
    assert "one statement at a time" in pa.refusal("sql", "SELECT 1; DELETE FROM expenses")
    assert len(pa.rows("SELECT * FROM expenses")) == 1


def test_mistakes_point_to_the_tables(pa: Program) -> None:
    assert "no such table: spending; tables and columns: pa sql" in pa.refusal("sql", "SELECT * FROM spending")
    assert "SELECT is missing" in pa.refusal("sql")
    assert pa.lines("sql", "PRAGMA table_info(goals)")[1].startswith("0|id|INTEGER")
    assert len(pa.lines("sql", "SELECT name, sql FROM sqlite_schema WHERE name = 'goals'")) == 2


def test_long_answers_are_cut(pa: Program) -> None:
    endless = "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT x FROM n"
    lines = pa.lines("sql", endless)
    assert len(lines) == 52
    assert lines[-1] == "... more than 50 rows; add WHERE or LIMIT"
    assert len(pa.lines("sql", "SELECT printf('%.*c', 5000, 'x')")[1]) == 200


def test_the_names_are_one_line_whatever_the_question(pa: Program) -> None:
    assert pa.lines("sql", "SELECT 1 +\n1") == ["1 + 1", "2"]


def test_an_average_is_money_too(pa: Program) -> None:
    pa.line("expense", "add", "40")
    pa.line("expense", "add", "41.01")
    asked = "SELECT money(avg(amount_minor), currency), money(total(amount_minor), currency) FROM expenses"
    assert pa.lines("sql", asked)[1] == "40.50 INR|81.01 INR"
    assert pa.lines("sql", "SELECT money('x', 'INR'), money(1e999, 'INR')")[1] == "|"


def test_a_query_without_end_is_stopped(pa: Program) -> None:
    endless = "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT count(*) FROM n"
    assert "took longer than" in pa.refusal("sql", endless)


def test_a_huge_value_is_refused(pa: Program) -> None:
    assert "too big" in pa.refusal("sql", "SELECT zeroblob(900000000)")
