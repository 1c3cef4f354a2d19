"""The assistant's hands: the `pa` program inside a sandbox.

The agent calls it through its exec tool instead of quoting SQL in a shell. Owns one person's database (tasks, meals,
money, people) and asks the daemon's host API for what the daemon owns (reminders, profile). Standard library only.

Never talks to anything but that database and the host API; never prints a traceback; never says `ok` before the change
is on disk.

Floors, from thought to behaviour:

* `text`, `currencies`, `money`, `days`, `when`, `arguments`, `lines`: parsing and formatting, no input or output;
* `profile`, `database`, `journal`, `host`: one outside thing each;
* `commands`: one module per subject; `table` lists them, `cli` is the way in.
"""
