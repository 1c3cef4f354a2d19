"""What each recorded webhook must come out as: one table, used with and without a server in between."""

from dataclasses import dataclass

from clawkakad.model import IdentifierKind
from clawkakad.whatsapp.delivery import Identifier

PHONE_NUMBER_ID = "100000000000001"

ROBIN_ID: Identifier = (IdentifierKind.BSUID, "US.10000000000000000001")
ROBIN_NUMBER: Identifier = (IdentifierKind.WA_ID, "15550100123")
ROBIN = (ROBIN_ID, ROBIN_NUMBER)
KIM = ((IdentifierKind.BSUID, "GB.10000000000000000002"), (IdentifierKind.WA_ID, "447700900456"))
NEW_ID: Identifier = (IdentifierKind.BSUID, "US.10000000000000000009")
NEW_NUMBER: Identifier = (IdentifierKind.WA_ID, "15550100177")


@dataclass(frozen=True)
class Expected:
    """Messages as (kind, who, text), statuses as (status, error code), changes as (old, new), levels of notices."""

    messages: tuple[tuple[str, tuple[Identifier, ...], str | None], ...] = ()
    statuses: tuple[tuple[str, int | None], ...] = ()
    changes: tuple[tuple[Identifier, tuple[Identifier, ...]], ...] = ()
    notices: tuple[str, ...] = ()


def text(*bodies: str | None, who: tuple[Identifier, ...] = ROBIN) -> Expected:
    return Expected(messages=tuple(("text", who, body) for body in bodies))


def other(kind: str, *notices: str, who: tuple[Identifier, ...] = ROBIN) -> Expected:
    return Expected(messages=((kind, who, None),), notices=notices)


def status(*values: str, code: int | None = None) -> Expected:
    return Expected(statuses=tuple((value, code) for value in values))


def notices(*levels: str) -> Expected:
    return Expected(notices=levels)


NOTHING = Expected()

EXPECTED: dict[str, Expected] = {
    "agentplatform_updates_receipts_only": notices("info"),
    "agentplatform_updates_text_and_receipt": notices("info"),
    "audio_file_not_voice": other("audio"),
    "audio_voice_note": other("audio"),
    "batched_entries_changes_messages": Expected(
        messages=(
            ("text", ROBIN, "one"),
            ("text", KIM, "hello from somebody else"),
            ("text", ROBIN, "two"),
            ("text", ROBIN, "three"),
            ("image", ROBIN, None),
        ),
        statuses=(("delivered", None), ("sent", None)),
        notices=("info",),
    ),
    "batched_one_bad_message_among_good": Expected(
        messages=(("text", ROBIN, "good before"), ("text", ROBIN, "good after")), notices=("warning",)
    ),
    "bsuid_and_parent_bsuid_text": text(
        "Managed portfolio user",
        who=(ROBIN_ID, (IdentifierKind.PARENT_BSUID, "US.ENT.20000000000000000001"), ROBIN_NUMBER),
    ),
    "bsuid_only_text_with_username": text("My phone number is hidden.", who=(ROBIN_ID,)),
    "button_quick_reply_without_context": other("button"),
    "button_template_quick_reply": other("button"),
    "change_with_empty_messages_array": NOTHING,
    "contacts_own_number_on_request_bsuid_only": other("contacts", who=(ROBIN_ID,)),
    "contacts_shared_vcard": other("contacts"),
    "document_with_hostile_filename": other("document"),
    "duplicate_wamid_in_one_delivery": text("once only"),
    "edit_text_coexistence": other("edit"),
    "empty_entry_array": NOTHING,
    "entry_with_empty_changes": NOTHING,
    "field_account_update_restriction": notices("error"),
    "field_message_template_status_update_rejected": notices("warning"),
    "field_phone_number_quality_update": notices("info"),
    "field_smb_message_echoes": notices("info"),
    "field_user_id_update": Expected(changes=((ROBIN_ID, (NEW_ID,)),)),
    "field_user_preferences_stop_marketing": notices("info"),
    "group_text": notices("info"),
    "image_with_caption_and_url": other("image"),
    "image_without_caption_or_url": other("image"),
    "interactive_button_reply": other("interactive"),
    "interactive_list_reply": other("interactive"),
    "interactive_nfm_reply_flow": other("interactive"),
    "interactive_unknown_subtype": other("interactive"),
    "interactive_without_body_but_value_error": other("interactive", "warning"),
    "location_bare": other("location"),
    "location_with_name": other("location"),
    "media_too_large_131052": other("unsupported"),
    "message_for_another_phone_number_id": notices("info"),
    "order_from_catalog": other("order"),
    "reaction_added": other("reaction"),
    "reaction_removed_empty_emoji": other("reaction"),
    "reaction_removed_no_emoji_key": other("reaction"),
    "revoke_coexistence": other("revoke"),
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
    "sticker_animated": other("sticker"),
    "system_customer_identity_changed_legacy": notices("info"),
    "system_user_changed_number": Expected(changes=((ROBIN_NUMBER, (NEW_ID, NEW_NUMBER)),)),
    "system_user_changed_user_id": Expected(changes=((ROBIN_ID, (NEW_ID,)),)),
    "text_basic": text("Remind me to water the plants tomorrow at 8."),
    "text_forwarded": text("FWD: meeting moved to 15:00"),
    "text_frequently_forwarded": text("Send this to ten friends"),
    "text_legacy_without_user_id": text("Hello from an old-shape payload.", who=(ROBIN_NUMBER,)),
    "text_multiline_and_control_chars": text(
        "line one\nline two\n\n\ttabbednulzero-widthrtl-override *bold?* _it_ `code`"
    ),
    "text_reply_to_assistant": text("Yes, that one please."),
    "text_reply_to_unknown_message": text("And this?"),
    "text_whitespace_only": text(None),
    "text_wire_bytes_escaped_unicode_and_slashes": text(
        "Café ☕ 👨\u200d👩\u200d👧 see https://example.invalid/a/b?c=d&e=<f> @home"
    ),
    "text_with_ad_referral": text("Hi, I saw your ad"),
    "text_without_contacts_array": text("No contacts array came with me."),
    "two_people_same_profile_name": Expected(
        messages=(("text", ROBIN, "I am the first Robin"), ("text", KIM, "I am another Robin"))
    ),
    "unknown_future_message_type": other("hologram"),
    "unknown_webhook_field": notices("info"),
    "unsupported_poll_131051": other("unsupported"),
    "unsupported_without_details": other("unsupported"),
    "value_level_error_130429": notices("warning"),
    "video_with_caption": other("video"),
    "wrong_object_page": notices("info"),
}
