"""Taking a prompt apart: what the user asked, and the passages that a template put around it."""

import re

from qwen3_core.adaptive.words import CODE

SHORT, LONG = 400, 300
"""Characters: an unmarked question is a paragraph of at most the first number, beside at least the second of text."""

_TAG = re.compile(
    r"</?(?:(?P<question>question|query|user_question|user_query)|context|documents?|sources?|passages?)>",
    re.IGNORECASE,
)
_LABEL = re.compile(
    r"^[ \t#*]{0,8}(?:"
    r"(?P<question>(?:the )?(?:(?:original|user|user's|last) )?(?:question|query)(?: is as follows)?"
    r"|q|问题|frage|pregunta)|"
    r"(?P<context>(?:retrieved )?(?:context|documents?|sources?|passages?)|上下文|资料|参考资料|kontext|contexto)|"
    r"(?P<answer>(?:(?:your|helpful|final|refined) )?(?:answer|response)|a|回答|答案|antwort|respuesta)"
    r")[ \t*]{0,4}[:\uff1a]\**",
    re.IGNORECASE | re.MULTILINE,
)
_RULE = re.compile(r"^(?:-{5,}|={5,}|#{5,}|\"{3})[ \t]*$", re.MULTILINE)
_PARAGRAPH_END = re.compile(r"\n\s*\n")


def split_prompt(text: str) -> tuple[str, str]:
    """Part a user message into the question and what is there to answer it from.

    The first of these that the message has decides:

    * tags: ``<question>`` or ``<query>`` around the question, or ``<context>``, ``<documents>``, ``<sources>`` and the
      like around the rest;
    * a line that begins with ``Question:`` or ``Query:`` (or 问题, Frage, Pregunta) and an empty ``Answer:`` or none
      after it; the question may also come first and ``Context:`` after it;
    * two lines of dashes, equals signs, ``###`` or triple quotation marks around the context;
    * long text and a short paragraph after it that ends in a question mark, or before it that ends in a colon or a
      question mark, if the text is no code.

    Returns:
        The question, the whole message if nothing marks a part of it, and the context, ``""`` for none.
    """
    text = text.strip()
    for split in (_by_tags, _by_labels, _by_rules, _by_paragraphs):
        question, context = split(text)
        if question and context:
            return question, context
    return _by_labels(text)[0] or text, ""


def _by_tags(text: str) -> tuple[str, str]:
    tags = [*_TAG.finditer(text)]
    asking = [tag for tag in tags if tag.group("question")]
    if _enclose(asking[-2:]):
        opening, closing = asking[-2:]
        around = f"{text[: opening.start()]}\n{text[closing.end() :]}"
        return text[opening.end() : closing.start()].strip(), _TAG.sub(" ", around).strip()
    ends = tags[:1] + tags[1:][-1:]
    if not _enclose(ends):
        return "", ""
    opening, closing = ends
    question = f"{text[: opening.start()]}\n{text[closing.end() :]}".strip()
    return _by_labels(question)[0] or question, _TAG.sub(" ", text[opening.end() : closing.start()]).strip()


def _enclose(tags: list[re.Match[str]]) -> bool:
    """Tell whether these are two tags, the second of which closes the first."""
    return len(tags) == 2 and tags[1].group().lower() == tags[0].group().lower().replace("<", "</")


def _by_labels(text: str) -> tuple[str, str]:
    inner, end = _between_rules(text), len(text)
    fence = text.find(inner) if inner else end
    # A document may have labels of its own, and other questions.
    labels = [label for label in _LABEL.finditer(text) if not fence <= label.start() < fence + len(inner)]
    if labels and labels[-1].lastgroup == "answer" and not text[labels[-1].end() :].strip():
        end = labels.pop().start()
    kinds = [label.lastgroup for label in labels]
    if "question" not in kinds:
        return "", ""
    first, last = kinds.index("question"), len(kinds) - 1 - kinds[::-1].index("question")
    if "context" in kinds[first:] and "context" not in kinds[:first]:
        context = labels[kinds.index("context")]
        question, around = text[labels[first].end() : context.start()], text[: labels[first].start()]
        return question.strip(), f"{around}\n{text[context.end() : end]}".strip()
    if "answer" in kinds[last:]:  # questions and answers of a document
        return "", ""
    question, context_text = text[labels[last].end() : end], text[: labels[last].start()]
    if _RULE.search(question):  # a question that is repeated before the context
        question, _, after = question.strip().partition("\n")
        context_text += "\n" + after
    return question.strip(), (_between_rules(context_text) or context_text).strip()


def _by_rules(text: str) -> tuple[str, str]:
    rules = [*_RULE.finditer(text)]
    context = _between_rules(text)
    return (f"{text[: rules[0].start()]}\n{text[rules[-1].end() :]}".strip(), context) if context else ("", "")


def _between_rules(text: str) -> str:
    rules = [*_RULE.finditer(text)]
    return text[rules[0].end() : rules[-1].start()].strip() if len(rules) > 1 else ""


def _by_paragraphs(text: str) -> tuple[str, str]:
    paragraphs = [part.strip() for part in _PARAGRAPH_END.split(text)]
    first, last = paragraphs[0], paragraphs[-1]
    if len(paragraphs) < 2 or CODE.search(text.lower()):
        return "", ""
    if len(last) <= SHORT and last.endswith(("?", "\uff1f")) and len(text) - len(last) >= LONG:
        return last, text[: -len(last)].strip()
    if len(first) <= SHORT and first.endswith((":", "?", "\uff1a", "\uff1f")) and len(text) - len(first) >= LONG:
        return first, text[len(first) :].strip()
    return "", ""
