"""The words by which `qwen3_core.adaptive` tells requests apart: one pattern per idea, languages one after another.

All patterns are for text in lower case with half-width punctuation. Every repetition that could be tried at many places
is bounded, so that no text makes them slow.
"""

import re

CJK = re.compile(r"[\u3400-\u9fff]")


def words(*languages: str) -> re.Pattern[str]:
    """Compile alternatives; those in Latin letters match whole words, while Chinese has no word ends."""
    return re.compile("|".join(part if CJK.search(part) else rf"\b(?:{part})\b" for part in languages))


# What is to be done with a text, whatever the text says.
TEXT_TASK = words(
    r"translat\w+|summar\w+|sum up|recap|paraphras\w+|rephrase|reword|rewrite|proof-?read|shorten|improve|tl;?dr|gist"
    r"|takeaways?",
    r"(?:fix|correct|check|polish) (?:(?:the|my|this|any|all) )?(?:spelling|grammar|typos?|punctuation|wording|text)",
    r"(?:make|put|turn|format|write|convert|bring) (?:\w+ ){1,5}?(?:(?:as|in|into|to|on) (?:\w+ ){0,3}"
    r"(?:line|sentences?|case|bullets?|bullet points|table|list|markdown|json|csv|tense|words|e-?mail)|sound)",
    r"how (?:do|would) (?:you|i|we) say|(?:say|put|phrase) (?:this|it)|what(?:'s| is) (?:this|the) (?:\w+ )?about",
    r"(?:in|into|for) (?:english|german|french|spanish|chinese)|(?:english|german|french|spanish|chinese) for"
    r"|(?:extract|list|remove) (?:all|the)|capitali[sz]e|in a nutshell|title for|(?:key|main) (?:points|ideas)",
    r"übersetz\w*|zusammenfass\w*|fass\w? (?:\w+ ){1,6}zusammen|formulier\w*|korrigier\w*|auf (?:deutsch|englisch)",
    r"traduc\w*|tradúc\w*|resum\w*|reescrib\w*|corrig\w*|corrij\w*|en (?:inglés|español)",
    r"翻译|译[成为]|怎么[说讲]|总结|概括|摘要|归纳|提炼|改写|润色|改[得成]|纠正|错别字|精简|[说写讲]得",
    r"主要(?:内容|[讲说])|[讲说]了什么",
)

# What cannot be done without working it out.
REASONING_TASK = re.compile(
    r"^(?:(?:please|kindly|now|then|so|ok|can you|could you|would you|help me|let's|bitte|por favor)[ ,]+){0,3}(?:to )?"
    r"(?:prove|show (?:me )?(?:that|why)|deriv|deduce|solve|calculat|comput|work out|figure out|estimat|compar|contrast"
    r"|weigh|rank|plan|schedul|organi[sz]e|arrang|allocat|assign|draw up|put together|debug|implement|optimi[sz]e"
    r"|design|count |convert [\d.]+|find the (?:bug|error)"
    r"|(?:put|fit|split|divide|distribute) (?:\w+ ){1,4}?(?:into|among|over)"
    r"|beweis|zeige?,? dass|berechne|rechne|vergleich|plane|leite|löse|demuestr|calcul|compar|planific|resuelv|deduc)"
    r"|\b(?:write|create|make|need|want|give me|erstelle?|brauche) (?:\w+ ){0,5}?"
    r"(?:function|program|script|sql query|regex|plan|schedule|timetable|itinerary|roster)\b"
    r"|\bstep[- ]by[- ]step\b|\bpros and cons\b|\btrade-?offs?\b|\b(?:what|which|sensible|best) (?:order|sequence)\b"
    r"|\bhow (?:should|can|could|do) we (?:best )?(?:split|share|divide|arrange|schedule|organi[sz]e|distribute)"
    r"|(?:(?:请|帮|给我)[^。?!]{0,16}|^|, ?)"
    r"(?:证明|推导|推理|推一|推算|求解|计算|算一|算出|估算|对比|比较|规划|安排|制定|排[一出个]|设计|计划)"
    r"|把.{1,8}分[给成配]|一步步|逐步|利弊|优缺点|反证|怎么(?:安排|分[配工]|排[班才])"
)

# Asks for a way to do something, which documents describe.
HOW_TO = re.compile(
    r"\bhow (?:to|(?:do|can|could|would) (?:i|you|we|one))\b|\bwhat (?:do|should) i (?:need to )?do\b|\bway to\b"
    r"|\bwie \w+ (?:ich|wir|man)\b|\bcómo\b|(?:怎么|怎样|如何)(?!样|安排|分[配工]|排[班才]|选)"
)

# A question for a place, a person or a date, whatever verb comes later.
WHERE_OR_WHO = re.compile(r"(?:where|who|when|wo|wer|wann|dónde|quién|cuándo)\b|[^,]{0,200}(?:哪里|在哪|谁)")

# A line of program text, SQL or configuration.
CODE = re.compile(
    r"```|^#!|^[ \t]*(?:for|while|if|def|class|else|try|import|return)\b.{0,200}[:;{][ \t]*$|[;{][ \t]*$"
    r"|^[ \t]*[\w.]{1,40} [+*-]?= ?\S|\bselect .{1,80}\bfrom\b|^[ \t]+[\w-]+:(?: \S+)?$"
    r"|[\w)\]'\"] ?(?:===?|!=|\+=|&&|\|\||=>|::) ?[\w('\"]|\w\)+[:;{]|\w\.\w+\(|\w\([^()\n]{3,80}\)|\w=['\"]",
    re.MULTILINE,
)

# What is asked about code that wants to be followed step by step.
TROUBLE = words(
    r"why|wrong|bugs?|errors?|\w+(?:error|exception)|mistakes?|fails?|does(?:n't| not)|what \w+ does|prints?|printed",
    r"outputs?|logs|logged|returns?|complexity|faster|slow|warum|fehler|por qué",
    r"为什么|错|输出|打印|结果|复杂度|不对|问题",
)

# How a message begins that is no request.
SMALL_TALK = re.compile(
    r"(?:hi|hello|hey|thanks|thank you|thx|ok|okay|cool|great|nice|perfect|bye|goodbye|see you|haha|lol|sorry|happy"
    r"|good (?:morning|afternoon|evening|night)|hallo|moin|danke|guten|tschüss|hola|gracias|adiós|buen[oa]s)\b"
    r"|你好|您好|嗨|谢谢|多谢|再见|早上好|晚上好|晚安|哈哈|好的|辛苦|明白"
)

# Questions about the assistant.
WHO_ARE_YOU = words(
    r"who are you|what(?:'s| is) your name|how are you|are you (?:a|an) \w+|wer bist du|quién eres",
    r"你叫什么|你是谁|你的名字",
)

# Question words.
ASKING = words(
    r"what|which|who|whom|whose|where|when|why|how|wer|wo|wann|warum|wie|welche\w?|qué|quién|dónde|cuándo|cómo|cuál",
    r"什么|哪|谁|怎|如何|几|多少|吗|为何",
)

# Asks what a word means.
DEFINITION = words(
    r"(?:what|was|qué)(?:'?s| is| are| ist| sind| es| son) (?:(?:an?|eine?|una?) (?:[\w-]+ ){0,2})?[\w-]+$|what is it",
    r"what (?:\w+ ){1,5}(?:mean|stand for)|(?:is|are) meant by|counts? as|defin\w+|meaning of",
    r"(?:difference between|unterschied zwischen) (?:an? )?\w+ (?:and|und) (?:an? )?\w+$|was bedeutet|qué significa",
    r"是什么意思|什么是|什么叫|指的是什么|的定义|何谓|缩写|^[^的]{1,12}是什么$",
)

# Asks for a number.
QUANTITY = words(
    r"how (?:many|much|long|old|far|often|late|early|tall|big|large|high)|number of",
    r"what (?:age|percentage|fraction|factor|share)|wie (?:viele?|lange|oft|weit|alt)|cuánt[oa]s?|qué edad",
    r"多少|几(?!点)[^\W\d_]|多[久长远大高]",
)

# The noun that is counted.
COUNTED = re.compile(r"(?:how many|number of|wie viele|cuánt[oa]s) (\w+)|(?:几|多少)([^\W\d_钱个点])")

# A number that is seldom written down, since it comes out of others.
DERIVED = words(
    r"total|altogether|in all|overall|combined|on average|left over|remaining|remains?|by (?:what|which) factor",
    r"per (?:hour|day|week|month|year|person|head|unit)|insgesamt|übrig|im schnitt|en total|quedan?|en promedio",
    r"一共|总共|合计|共计|平均|还剩|剩下|还[能要需]|相差|差多少|下来",
)

# Sets one thing against another or against a limit.
COMPARES = words(
    r"than(?! one)|more(?! than)|less|fewer|(?<!at )(?:most|least)|better|best|worse|worst|(?:cheap|fast)(?:er|est)",
    r"(?:larg|bigg|small|high|low|long|short|old|young|strong|weak|saf)(?:er|est)|vs|versus|rather|above|below|both",
    r"worth|enough|suffices?|besser|billiger|günstiger|lohnt|mehr|reicht|mejor|más|basta",
    r"更|划算|合算|合适|最[好快贵多少大小高低早晚]|值得|一样|够",
)

# Names alternatives; not in a yes-or-no question, to which "or" adds little.
CHOICE = re.compile(
    r"^(?!(?:is|are|do|does|did|can|could|will|may|where|who|when|how) )[^?]{0,300} or "
    r"|\boder\b|还是|怎么选|\b(?:vs|versus)\b"
)

CONDITION = words(
    r"if|given that|suppose|supposing|assuming|unless|provided that|wenn|falls|angenommen|si",
    r"如果|假如|假设|要是|若|的话",
)

# Names a thing by way of another: "the grape of our house red", "the person who replaces her".
DETOUR = re.compile(
    r"\bof (?:the|our|my|his|her|its|their|this)\b|(?<=\w )(?:who|whoever|that|whose) \w|\w's \w"
    r"|(?<=\w )(?:when|where|while) (?:the|his|her|its|their|they)\b|\bde[sr]\b|\bvon\b|, d[ia]s\b|\bdel\b"
    r"|的.{1,12}(?:的|[哪谁]|是什么)|[谁哪].{1,8}的|那[年个时]"
)

# Wants a yes or no, or a recommendation.
VERDICT = re.compile(
    r"(?:^|, )(?:should|shall|can|could|do|does|did|must|am|are|will|would|may|is) |\bshould (?:i|we)\b"
    r"|(?:^|, )(?:soll\w*|muss\w*|darf\w*|kann\w*|brauch\w*|debo|puedo) |我们?.{0,12}[吗合该]|对我们"
)

# A context that describes a case, to which its rules have to be applied.
CASE = words(
    r"our|my|unser\w*|mein\w*|nuestr\w*|applicant|traveller|customer|patient|tenant|profile|requirements",
    r"我们|我的|申请人|客户",
)

# What logic puzzles are made of.
ORDERED = words(
    r"all|every|some|none|no|either|neither|both|not|only|if|each|lies?|truth|lying|without|alle|keine?|todos",
    r"\w{2,20}er than|before|after|left of|right of|next to|first|last|exactly",
    r"所有|都|不是|要么|如果|说谎|真话|前面|后面|左边|右边|第[一二三四五六]|比.{1,6}[高大多早快]|紧",
)

# What is computed or proved, and letters, which models do not see one by one.
MATHS = words(
    r"probability|derivative|integral|equation|polynomial|theorem|primes?|prime numbers?|factorial|permutations?",
    r"(?:letters?|vowels|characters|syllables) .{0,40}in|wahrscheinlichkeit|ableitung|gleichung|probabilidad|ecuación",
    r"概率|导数|积分|方程|定理|质数|素数|出现了?几次",
)

# A number in digits or, where it counts something, in words.
NUMBER = re.compile(
    r"\d[\d.,:]{0,20}|\b(?:one|two|three|four|five|six|seven|eight|nine|ten|twelve|dozen|hundred|half|quarters?|twice"
    r"|double|zwei|drei|vier|fünf|sechs|halb\w*|doppelt|dos|tres|cuatro|cinco|mitad|doble)\b"
    r"|[一二两三四五六七八九十百千半]{1,6}(?=[个位人年月天日元块岁次只张本台家口小分倍折名])"
)

_STOP = """
a an the this that these those it its they them their he she his her we us our you your i my me is are was were be been
am do does did done have has had having will would shall should can could may might must to of in on at by for with
without as and or not no but so too very just only also there here what which who whom whose when where why how many
much long old far often any some each every all s t d re ve ll don didn please tell want need get got up down out off
over under about into go goes happen happens while if then from
der die das den dem des ein eine einen einem einer und nicht kein keine ist sind war wird werden hat haben kann ich wir
sie er es mein unser mir mich wie was wer wo wann warum welche welcher welches welchem viele viel im auf für von zu zum
zur mit bei aus nach am man steht stehen sich
el la los las un una unos y no es son fue que qué de del en para por con se su mi lo al cómo cuánto cuánta cuántos
cuántas dónde cuándo quién cuál
"""
STOP = frozenset(_STOP.split())
"""Words that do not tell what a question is about."""

CHINESE_STOP = re.compile(
    r"什么|多少|怎么|怎样|如何|为什么|哪[个些里所种]?|几[个次位]?|谁|是|的|了|吗|呢|在|有|和|与|或|我们?|你|请|可以|能"
    r"|这[个里]?|那|把|个|才|会|还|现在|需要|要|时候|应该|需"
)
"""The same in Chinese, where they part the words beside them."""
