"""Research over private documents: what the model is asked in each step, how its replies are read, and when to stop.

Nothing here asks a model or a store: `prompts` has what is said to the model, `reading` what is made of its replies,
`course` which step comes next. The frameworks' packages run the steps.
"""

from qwen3_core.deep_search.course import Course, Limits, Step, Thinking, Usage
from qwen3_core.deep_search.prompts import DeepSearchPrompts

__all__ = ["Course", "DeepSearchPrompts", "Limits", "Step", "Thinking", "Usage"]
