"""A request to a chat server and what comes back, for any framework.

`wishes` says what a caller wants of thinking, `body` writes it as the server reads it (`qwen3_core.thinking` has the
dialects), `messages` and `sampling` settle the rest, `server` puts the whole request together, `errors` explains
refusals, `call_pieces` joins streamed tool calls, and `doctor` asks a server what it is. Nothing here opens a
connection by itself.
"""
