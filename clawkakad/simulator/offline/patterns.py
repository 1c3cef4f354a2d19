"""The regular expressions by which a line is recognised, in the order of the things that they are about. No I/O."""

import re

from clawkakad.simulator.offline.moments import WHEN

I = re.IGNORECASE  # noqa: E741 - as short as it is often

GREETING = re.compile(
    r"(?:hi+|hello|hey+|hiya|yo|namaste|hola|hallo|salaam|good (?:morning|afternoon|evening))"
    r"(?:\s+(?:there|again|you|friend|buddy))?\W*",
    I,
)
THANKS = re.compile(
    r"(?:thanks?(?: you)?(?: so much| a lot)?|thx|ty|great|perfect|nice|cool|awesome|ok(?:ay)?|got it|👍|🙏)\W*", I
)
HELP = re.compile(
    r"(?:help|\?+|what (?:can|do) you do|who are you|what are you|how (?:does this|do you) work)\b.{0,30}|\?+", I
)
UNDO = re.compile(
    r"(?:oops[,!.]?\s*)?(?:please\s+)?(?:undo|scratch|revert|take back|forget|delete|remove)"
    r"(?:\s+(?:that|it|this|the last (?:one|entry)|last))?[.!]*",
    I,
)

REMIND = re.compile(r"(?:please\s+|pls\s+|can you\s+|could you\s+)*remind me\b[,:]?\s*(?P<rest>.*?)[.!?]*", I)
WHEN_FIRST = re.compile(rf"(?P<when>{WHEN})\b[,:]?\s*(?:(?:to|about|of|that)\s+)?(?P<what>.+)", I)
WHEN_LAST = re.compile(rf"(?:(?:to|about|of|that)\s+)?(?P<what>.+?)\s+(?P<when>{WHEN})", I)
REMIND_LIST = re.compile(r"(?:(?:what|show|list|see)\b.*\breminders?|(?:my\s+)?reminders)[?.!]*", I)
REMIND_CANCEL = re.compile(r"(?:cancel|delete|remove|drop)\s+(?:the\s+|my\s+)?reminder\s+#?(?P<id>\d+)[.!]*", I)

TASK_LIST = re.compile(
    r"(?:(?:what|what's|show|list|see)\b.*\b(?:tasks?|to-?dos?|to-?do list)|(?:my\s+)?(?:tasks|to-?dos|to-?do list)"
    r"|what (?:do i have to do|should i do|is open)\b.*)[?.!]*",
    I,
)
TASK_ADD = re.compile(
    r"(?:(?:please\s+)?(?:add|new|create)\s+(?:a\s+)?(?:new\s+)?(?:task|to-?do)|task|to-?do|i (?:need|have|got) to"
    r"|i must|don't let me forget to)\b\s*[:\-]?\s*(?:to\s+)?(?P<what>.+?)[.!]*",
    I,
)
ITEM = re.compile(  # what pa keeps elsewhere is no task
    r"(?:please\s+)?add\s+(?!(?:an?\s+|my\s+)?(?:contact|birthday|reminder|expense|income|meal|goal)\b)(?P<what>[^?]+?)"
    r"(?:\s+to\s+(?:my|the)\s+(?:[\w-]+\s+)?list)?[.!]*",
    I,
)
ITEM_MORE = re.compile(r"(?:and|also|plus)\s+(?:also\s+)?(?:add\s+)?(?P<what>[^?]+?)(?:\s+too)?[.!]*", I)
DUE = re.compile(rf"(?P<what>.+?)\s+(?:(?:by|due|before|until)\s+(?P<by>{WHEN}|end of day)|(?P<on>{WHEN}))", I)
TASK_DONE = re.compile(
    r"(?:(?:i(?:'m| am|'ve| have)?\s+)?(?:done|finished|completed)(?:\s+with)?\s*[:\-]?\s*(?:task\s+)?(?P<first>.+?)"
    r"|(?:mark\s+)?(?:task\s+)?(?P<last>.+?)\s+(?:is\s+|as\s+)?(?:done|finished|complete))[.!]*",
    I,
)

SUMMARY = re.compile(
    r"\b(?:how much|how many calories|summary|summari[sz]e|totals?|spending|spent so far|how am i doing|overview)\b",
    I,
)
FIND = re.compile(r"(?:find|search(?: for)?|look up)\s+(?P<what>.+?)[?.!]*", I)

CALL_ME = re.compile(r"(?:(?:hi|hello|hey)[,!.]?\s+)?(?:please\s+)?(?:call me|my name(?:'s| is))\s+(?P<name>.+)", I)
GIVEN = re.compile(r"(?:call me|my name(?:'s| is)|it's|i(?:'m| am))\s+(?:called\s+)?(?P<name>.+)", I)
ZONE = re.compile(
    r"\b(?P<zone>(?:Africa|America|Antarctica|Asia|Atlantic|Australia|Europe|Indian|Pacific)/[A-Za-z_/-]+)"
)
CURRENCY = re.compile(r"(?:my currency is|use|i use|currency:?)\s+(?P<currency>[a-z]{3})[.!]*", I)
GOAL = re.compile(
    r"\bgoal\b.*?(?P<value>\d{1,5})\s*(?:g\b|grams?)?\s*(?:of\s+)?(?P<kind>k?cal(?:orie)?s?|protein|carbs|fat)", I
)

SPENT = re.compile(r"\b(?:spent|paid|bought|costs?|expense)\b", I)
EARNED = re.compile(r"\b(?:earned|got paid|received|income|credited|salary|invoice paid|refund)\b", I)
ATE = re.compile(r"(?:i\s+)?(?:just\s+)?(?:had|ate|eaten|having|drank|i'm having)\s+(?P<food>.+)", I)
ATE_AT = re.compile(r"(?P<meal>breakfast|lunch|dinner|snack)\s*[:\-]\s*(?P<food>.+)", I)
MEAL = re.compile(r"\b(?:for|at|as an?)\s+(?:a\s+|my\s+)?(?P<meal>breakfast|lunch|dinner|snack)s?\b", I)


NOT_MONEY = re.compile(
    r"\b(?:steps?|kms?|miles?|kgs?|hours?|hrs?|minutes?|mins?|days?|years?|yrs?|people|times|pages?|cm|lit(?:re|er)s?)\b"
    r"|%|\d\s*[ap]m\b",
    I,
)
LEADING = re.compile(
    r"\A(?:i|i've|just|had|got|get|have|spent|paid|bought|received|earned|expense|income|add|log"
    r"|on|for|at|of|a|an|the|my|was|is|from)\b:?\s*",
    I,
)
TRAILING = re.compile(r"\s*\b(?:today|yesterday|on|for|at|of|to|from|and|is|was|by|costs?|me|credited|each)\Z", I)
