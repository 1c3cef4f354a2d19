-- Whether a message was taken back before it came is asked for each one: mostly there is nothing to look through.
CREATE INDEX inbox_taken_back ON inbox (reply_to) WHERE kind = 'revoke';
