"""What the daemon itself says to people, in one place: short, plain, never about machinery.

But for what is put around a reminder, which the registry has to know (`registry/lateness.py`).
"""

ONLY_TEXT = "I can only read text so far. Could you write it to me in words?"
ONLY_TEXT_KIND = "I can't open this kind of message. Could you write it to me in words?"
TOO_MANY = (
    "That is more than I can keep up with in an hour, so I have to leave this unanswered. Please write again a little"
    " later."
)
STRANGER = "Hello! This is a private assistant, for people whom its owner has invited. I can't help you here, sorry."
TOO_LONG = "Sorry, that took me too long and I had to stop. Could you ask me once more?"
NOT_NOW = "Sorry, I couldn't work that out just now. Please try again in a few minutes."
MODEL_KEY = (
    "Sorry, I can't think right now: my access to the model has a problem. The person who runs me has been told."
)
CUT_SHORT = "There is more, but it gets too long for here. Ask me for the part that you need."
GAVE_UP = "Sorry, something went wrong on my side with your message. Please send it again if it still matters."
INTERRUPTED = (
    "Sorry, I was interrupted twice while I worked on your message, so I stopped; part of it may be done. Please look,"
    " and ask again for the rest."
)
STILL_ON_IT = "Still on it, this one takes me a little longer."
WAKING = "One moment, I'm just waking up."
BUSY = "Sorry, my model is too busy just now. Please try again in a few minutes."
BUDGET = (
    "Sorry, I can't think any more for now: the monthly limit of my model is used up. The person who runs me has been"
    " told."
)
TOO_MUCH = "Sorry, that was too much for me to keep in mind at once. Could you send me less, or only the part you need?"
NOT_THAT = "Sorry, my model doesn't want to answer that one. Could you put it differently?"
PARKED = (
    "Sorry, I have a problem that I can't get past by myself. Your messages are kept, and the person who runs me has"
    " been told; I'll answer as soon as I can."
)
DISK_FULL = (
    "Sorry, I have kept so much that my storage is full, and had to stop. Your messages are kept, and the person who"
    " runs me has been told; I'll answer as soon as I can."
)
NO_ROOM = (
    "Hello! There is no room for me here just yet. Your message is kept, and the person who runs me has been told; I'll"
    " answer as soon as I can."
)
OLD = (
    "I was away for a while and got your messages from back then only now, so I left them. If something in them still"
    " matters, please send it again."
)
