"""What each recorded webhook must come out as: one table, used with and without a server in between."""

from dataclasses import dataclass
from typing import Any

from clawkakad.model import IdentifierKind
from clawkakad.whatsapp.delivery import Identifier, Purpose

PHONE_NUMBER_ID = "100000000000001"

ROBIN_ID: Identifier = (IdentifierKind.BSUID, "US.10000000000000000001")
ROBIN_NUMBER: Identifier = (IdentifierKind.WA_ID, "15550100123")
ROBIN = (ROBIN_ID, ROBIN_NUMBER)
KIM = ((IdentifierKind.BSUID, "GB.10000000000000000002"), (IdentifierKind.WA_ID, "447700900456"))
NEW_ID: Identifier = (IdentifierKind.BSUID, "US.10000000000000000009")
NEW_NUMBER: Identifier = (IdentifierKind.WA_ID, "15550100177")


@dataclass(frozen=True)
class Said:
    """A message, but for its id, its time and the name of who wrote it."""

    kind: str
    who: tuple[Identifier, ...]
    purpose: Purpose
    text: str | None = None
    media_id: str | None = None
    target: str | None = None
    reply_to: str | None = None
    forwarded: bool = False


@dataclass(frozen=True)
class Expected:
    """Statuses as (status, error code), changes as (old, new), levels of notices."""

    messages: tuple[Said, ...] = ()
    statuses: tuple[tuple[str, int | None], ...] = ()
    changes: tuple[tuple[Identifier, tuple[Identifier, ...]], ...] = ()
    notices: tuple[str, ...] = ()


def turn(
    kind: str,
    words: str,
    *,
    who: tuple[Identifier, ...] = ROBIN,
    media: str | None = None,
    reply_to: str | None = None,
    forwarded: bool = False,
) -> Expected:
    said = Said(kind, who, Purpose.TURN, words, media_id=media, reply_to=reply_to, forwarded=forwarded)
    return Expected(messages=(said,))


def text(body: str, **more: Any) -> Expected:
    return turn("text", body, **more)


def polite(kind: str, *notices: str, reply_to: str | None = None) -> Expected:
    return Expected(messages=(Said(kind, ROBIN, Purpose.POLITE, reply_to=reply_to),), notices=notices)


def file(kind: str, words: str, media: str) -> Said:
    return Said(kind, ROBIN, Purpose.POLITE, words, media_id=media)


def about(kind: str, purpose: Purpose, target: str, words: str | None = None) -> Expected:
    return Expected(messages=(Said(kind, ROBIN, purpose, words, target=target),))


def says(who: tuple[Identifier, ...], words: str) -> Said:
    return Said("text", who, Purpose.TURN, words)


def status(*values: str, code: int | None = None) -> Expected:
    return Expected(statuses=tuple((value, code) for value in values))


def notices(*levels: str) -> Expected:
    return Expected(notices=levels)


NOTHING = Expected()
OURS = "wamid.RkFLRS1PVVQtMDAwMQ=="
OUR_MENU = "wamid.RkFLRS1PVVQtMDAwMg=="
THEIRS = "wamid.RkFLRS1URVhULTAwMDE="

EXPECTED: dict[str, Expected] = {
    "agentplatform_updates_receipts_only": notices("info"),
    "agentplatform_updates_text_and_receipt": notices("info"),
    "audio_file_not_voice": Expected(
        messages=(file("audio", "[an audio file, which cannot be listened to yet]", "400000000000005"),)
    ),
    "audio_voice_note": Expected(
        messages=(file("audio", "[a voice note, which cannot be listened to yet]", "400000000000004"),)
    ),
    "batched_entries_changes_messages": Expected(
        messages=(
            says(ROBIN, "one"),
            says(KIM, "hello from somebody else"),
            says(ROBIN, "two"),
            says(ROBIN, "three"),
            file("image", "[an image, which cannot be looked at yet]", "400000000000010"),
        ),
        statuses=(("delivered", None), ("sent", None)),
        notices=("info",),
    ),
    "batched_one_bad_message_among_good": Expected(
        messages=(says(ROBIN, "good before"), says(ROBIN, "good after")), notices=("warning",)
    ),
    "bsuid_and_parent_bsuid_text": text(
        "Managed portfolio user",
        who=(ROBIN_ID, (IdentifierKind.PARENT_BSUID, "US.ENT.20000000000000000001"), ROBIN_NUMBER),
    ),
    "bsuid_only_text_with_username": text("My phone number is hidden.", who=(ROBIN_ID,)),
    "button_quick_reply_without_context": turn("button", "Stop"),
    "button_template_quick_reply": turn("button", "Done", reply_to="wamid.RkFLRS1PVVQtVFBMLTAwMDE="),
    "change_with_empty_messages_array": NOTHING,
    "contacts_own_number_on_request_bsuid_only": turn(
        "contacts", "[their own contact, as they were asked for it: +1 555-010-0123]", who=(ROBIN_ID,)
    ),
    "contacts_shared_vcard": turn(
        "contacts", "[contact: Sam Sample, +44 7700 900789, sam@example.invalid, Example Ltd, born 1990-01-31]"
    ),
    "document_with_hostile_filename": turn(
        "document",
        "[a document named “in voice fdp.exe.pdf”, which cannot be looked at yet] invoice attached",
        media="400000000000006",
    ),
    "duplicate_wamid_in_one_delivery": text("once only"),
    "edit_text_coexistence": about("edit", Purpose.EDIT, THEIRS, "Remind me to water the plants tomorrow at 9."),
    "empty_entry_array": NOTHING,
    "entry_with_empty_changes": NOTHING,
    "field_account_update_restriction": notices("error"),
    "field_message_template_status_update_rejected": notices("warning"),
    "field_phone_number_quality_update": notices("info"),
    "field_smb_message_echoes": notices("info"),
    "field_user_id_update": Expected(changes=((ROBIN_ID, (NEW_ID,)),)),
    "field_user_preferences_stop_marketing": notices("info"),
    "group_text": notices("info"),
    "image_with_caption_and_url": turn(
        "image", "[an image, which cannot be looked at yet] What plant is this?", media="400000000000001"
    ),
    "image_without_caption_or_url": Expected(
        messages=(file("image", "[an image, which cannot be looked at yet]", "400000000000002"),)
    ),
    "interactive_button_reply": turn("interactive", "Approve", reply_to=OUR_MENU),
    "interactive_list_reply": turn("interactive", "In an hour", reply_to=OUR_MENU),
    "interactive_nfm_reply_flow": turn("interactive", "[a form, filled in: date: 2026-11-30]", reply_to=OUR_MENU),
    "interactive_unknown_subtype": polite("interactive", reply_to=OUR_MENU),
    "interactive_without_body_but_value_error": polite("interactive", "warning", reply_to=OUR_MENU),
    "location_bare": turn("location", "[location: (-33.8568, 151.2153)]"),
    "location_with_name": turn(
        "location",
        "[location: Example Observatory, 1 Example Park, London (51.4779, -0.0015), https://maps.example.invalid/1]",
    ),
    "media_too_large_131052": polite("unsupported", "info"),
    "message_for_another_phone_number_id": notices("info"),
    "order_from_catalog": turn("order", "[order: 2 × SKU-1 at 9.5 EUR each] no onions"),
    "reaction_added": about("reaction", Purpose.RECORD, OURS),
    "reaction_removed_empty_emoji": about("reaction", Purpose.RECORD, OURS),
    "reaction_removed_no_emoji_key": about("reaction", Purpose.RECORD, OURS),
    "revoke_coexistence": about("revoke", Purpose.REVOKE, THEIRS),
    "sender_is_our_own_number": notices("info"),
    "status_bsuid_only_recipient": status("delivered"),
    "status_contact_without_profile": status("sent"),
    "status_delivered_free_window": status("delivered"),
    "status_failed_131026_undeliverable": status("failed", code=131026),
    "status_failed_131042_payment": status("failed", code=131042),
    "status_failed_131047_window_closed": status("failed", code=131047),
    "status_failed_131053_media_upload": status("failed", code=131053),
    "status_for_message_we_never_sent": status("read"),
    "status_general_purpose_ai_category": status("delivered"),
    "status_out_of_order_read_before_sent": status("read", "sent", "delivered"),
    "status_played_voice": status("played"),
    "status_read_minimal_with_callback_data": status("read"),
    "status_sent_service_billable": status("sent"),
    "status_template_utility_with_conversation_v23": status("sent"),
    "status_unknown_value": status("teleported"),
    "sticker_animated": Expected(
        messages=(file("sticker", "[a sticker, which cannot be looked at yet]", "400000000000007"),)
    ),
    "system_customer_identity_changed_legacy": notices("info"),
    "system_user_changed_number": Expected(changes=((ROBIN_NUMBER, (NEW_ID, NEW_NUMBER)),)),
    "system_user_changed_user_id": Expected(changes=((ROBIN_ID, (NEW_ID,)),)),
    "text_basic": text("Remind me to water the plants tomorrow at 8."),
    "text_forwarded": text("FWD: meeting moved to 15:00", forwarded=True),
    "text_frequently_forwarded": text("Send this to ten friends", forwarded=True),
    "text_legacy_without_user_id": text("Hello from an old-shape payload.", who=(ROBIN_NUMBER,)),
    "text_multiline_and_control_chars": text(
        "line one\nline two\n\n\ttabbednulzero-widthrtl-override *bold?* _it_ `code`"
    ),
    "text_reply_to_assistant": text("Yes, that one please.", reply_to=OURS),
    "text_reply_to_unknown_message": text("And this?", reply_to="wamid.RkFLRS1ORVZFUi1TRUVO"),
    "text_whitespace_only": Expected(messages=(Said("text", ROBIN, Purpose.RECORD),)),
    "text_wire_bytes_escaped_unicode_and_slashes": text(
        "Café ☕ 👨\u200d👩\u200d👧 see https://example.invalid/a/b?c=d&e=<f> @home"
    ),
    "text_with_ad_referral": text("Hi, I saw your ad"),
    "text_without_contacts_array": text("No contacts array came with me."),
    "two_people_same_profile_name": Expected(
        messages=(says(ROBIN, "I am the first Robin"), says(KIM, "I am another Robin"))
    ),
    "unknown_future_message_type": polite("hologram"),
    "unknown_webhook_field": notices("info"),
    "unsupported_poll_131051": polite("unsupported", "info"),
    "unsupported_without_details": polite("unsupported", "info"),
    "value_level_error_130429": notices("warning"),
    "video_with_caption": turn("video", "[a video, which cannot be looked at yet] our trip", media="400000000000003"),
    "wrong_object_page": notices("info"),
}
