# ruff: noqa: S311  (word tables; seeded sampling)
"""A small grammar of one-sentence texts: accomplishments, reviews, complaints, messages, job summaries and others.

Second stage of the corpus, beside wordings. A template holds slots between angle brackets, each a list of
phrases; `<S>`, `<p>`, `<o>` are the pronouns of the record's person, `<job>` the profession with its article.
Sentences end with a full stop, hold no braces and keep to `MAX_CHARS`.
"""

import re
from collections.abc import Sequence
from functools import cache
from random import Random
from typing import TypeVar
from zlib import crc32

from synthgen.nano.lexicon import Stage, Weighted, entropy_nats, sharpen, words

T = TypeVar("T")
MAX_CHARS = 120
_PRONOUNS = {"f": ("She", "her", "her"), "m": ("He", "his", "him"), "n": ("They", "their", "them")}

_SLOTS: dict[str, tuple[str, ...]] = {
    "town": words("city|town|county|village|district|island|region|suburb", "|"),
    "building": words(
        "library|hospital|school|concert hall|train station|museum|bridge|theatre|clinic|town hall|lighthouse"
        "|market hall|university|sports centre|railway line|football stadium|power station|public pool|airport", "|"),
    "people": words(
        "children|young people|refugees|older people|students|families|farmers|teachers|nurses|veterans|single parents"
        "|homeless people|young women|migrants|patients|deaf children|orphans|small businesses|first-time mothers", "|"),
    "thing": words(
        "water filter|vaccine|wheelchair|solar oven|hearing aid|wind turbine|bicycle|battery|phone app|water pump|robot"
        "|heart monitor|school desk|prosthetic hand|rain sensor|cooking stove|drone|seed drill|lifeboat|translation tool",
        "|"),
    "work": words(
        "novel|symphony|documentary|film|play|opera|poem|cookbook|mural|sculpture|textbook|song|short story|photo book"
        "|children's book|memoir|ballet|radio series|travel guide|history of the region", "|"),
    "topic": words(
        "river ecology|ancient trade|bird migration|clean energy|child health|coral bleaching|soil erosion|sleep"
        "|earthquakes|folk music|malaria|urban traffic|rare orchids|black holes|dementia|glaciers|honey bees|sea turtles"
        "|food security|medieval law|ocean currents|childhood asthma|number theory|volcanoes|diabetes", "|"),
    "prize": words(
        "national prize|science medal|book award|young talent award|peace prize|design award|teaching award|state medal"
        "|film prize|innovation prize|lifetime award|bravery medal|research grant|music prize|poetry prize", "|"),
    "event": words(
        "marathon|chess tournament|music festival|sailing race|science fair|film festival|cooking contest|world cup"
        "|winter games|book fair|charity run|cycling tour|dance contest|swimming race|mountain race", "|"),
    "group": words(
        "choir|orchestra|research team|football club|theatre company|charity|cooperative|newspaper|drama school"
        "|youth orchestra|rescue team|reading club|start-up|dance company|film studio|food bank|trade union|brass band",
        "|"),
    "n": words("two three four five six seven eight nine ten twelve fifteen twenty thirty forty fifty sixty"),
    "many": words("hundreds of|thousands of|dozens of|more than a hundred|over five hundred|nearly a thousand|many", "|"),
    "land": words("Peru|Kenya|Nepal|Norway|Brazil|Japan|Ghana|Canada|India|Italy|Chile|Poland|Egypt|Iceland|Vietnam", "|"),
    "nature": words(
        "river|forest|wetland|coastline|valley|lake|mountain trail|beach|woodland|park|island|nature reserve", "|"),
    "good": words(
        "comfortable|sturdy|beautiful|light|quiet|easy to clean|well made|handy|stylish|reliable|soft|cheap|charming"
        "|practical|durable|compact|simple to use|great fun|solid|elegant|bright|smooth", "|"),
    "bad": words(
        "flimsy|noisy|too small|too heavy|scratched|overpriced|hard to clean|dull|uncomfortable|slow|broken|too large"
        "|fragile|ugly|badly packed|sticky|stiff|leaky|wobbly|faded", "|"),
    "relative": words("mother|father|daughter|son|sister|brother|wife|husband|friend|neighbour|aunt|colleague|nephew", "|"),
    "while": words("a week|a month|two weeks|three days|half a year|a year|ten days|two months|a few days|one day", "|"),
    "since": words(
        "yesterday|this morning|last night|Monday|Tuesday|last week|last month|last Friday"
        "|last summer|last winter|Wednesday|last year|Thursday evening", "|"),
    "body": words(
        "back|left knee|right knee|neck|left shoulder|right shoulder|chest|stomach|throat|right ear|left ear|head"
        "|right foot|left ankle|hip|jaw|right elbow|left wrist|left hand|right eye", "|"),
    "pain": words(
        "sharp pain|dull pain|burning|stiffness|swelling|tingling|numbness|cramps|itching|throbbing pain|constant ache"
        "|weakness|stabbing pain|pressure", "|"),
    "symptom": words(
        "a headache|a fever|a dry cough|nausea|dizziness|a skin rash|a sore throat|chills|poor sleep|a blocked nose"
        "|shortness of breath|heartburn|blurred vision|loss of appetite|tiredness|night sweats|a fast heartbeat"
        "|stomach cramps|a runny nose|muscle pain", "|"),
    "act": words(
        "climbing stairs|running|lifting boxes|eating|sleeping badly|a long walk|a fall|sitting for long|playing tennis"
        "|working in the garden|a bicycle accident|a long flight|a cold shower|drinking coffee|carrying shopping", "|"),
    "doing": words(
        "climbing stairs|running|lifting boxes|cooking|walking|playing tennis|swimming|cycling|dancing|cleaning windows"
        "|gardening|driving|carrying shopping|skiing|reaching up|reading", "|"),
    "item": words(
        "order|parcel|invoice|password|account|subscription|refund|payment|booking|printer|laptop|phone|router|card"
        "|ticket|delivery|voucher|app|headset|camera|licence key|gift card|profile|contract", "|"),
    "trouble": words(
        "is missing|does not work|has not arrived|was sent twice|is still blocked|shows an error|was cancelled"
        "|is damaged|looks wrong|keeps failing|has the wrong name|stopped working|cannot be found|was charged twice"
        "|is too slow|has expired", "|"),
    "ask": words(
        "Please|Kindly|I ask you to|I need you to|You should|Someone must", "|"),
    "team": words(
        "small team|growing team|friendly team|busy office|young company|global team|family business|modern clinic"
        "|research group|night team|design studio|regional office", "|"),
    "duty": words(
        "write clear reports|talk to clients|train new staff|check safety rules|prepare budgets|test new tools"
        "|organise events|visit customers|answer questions|build prototypes|keep records|review contracts|fix problems"
        "|lead meetings|improve our website|manage suppliers|analyse data|draw up schedules|welcome guests", "|"),
    "offer": words(
        "flexible hours|a fair salary|free lunch|a pension|good training|a company car|thirty days of holiday"
        "|a yearly bonus|home working|a language course|health insurance|a sports pass|short meetings", "|"),
    "trait": words(
        "curious|patient|organised|careful|creative|friendly|reliable|ambitious|calm|experienced|precise|kind|quick"
        "|honest|motivated", "|"),
    "field": words(
        "sales|health care|education|logistics|finance|energy|transport|software|farming|tourism|design|research"
        "|construction|media|food|public service", "|"),
    "adj": words(
        "small quiet strange old new bright heavy warm cold simple busy rare steady common gentle narrow deep modern "
        "clean useful pale round distant famous empty"),
    "noun": words(
        "garden|window|market|story|machine|letter|painting|road|station|kitchen|lesson|village|project|meeting|song"
        "|journey|building|river|festival|photo|report|bridge|recipe|idea|workshop|delivery|report|storm|visit", "|"),
    "verb": words(
        "opened|changed|moved|started|ended|failed|grew|returned|arrived|closed|improved|stopped|worked|began", "|"),
    "when": words(
        "in the morning|last summer|after lunch|every Friday|at midnight|in March|before the storm|on Sunday|in winter"
        "|this year|during the holidays|at dawn|two years ago|by accident|without warning|in the evening", "|"),
    "use": words(
        "at home|in the office|on long trips|in the kitchen|for beginners|for small rooms|every day|in the garden"
        "|for the whole family|outdoors|for children|in any weather|at school|for busy mornings", "|"),
    "made": words(
        "recycled plastic|solid oak|soft cotton|stainless steel|bamboo|thick glass|natural wool|light aluminium"
        "|strong nylon|organic linen|fine leather|smooth ceramic", "|"),
}  # fmt: skip

_TEMPLATES: dict[str, tuple[str, ...]] = {
    "accomplishment": words(
        """<S> designed a <thing> that helped <many> <people>.
        <S> led the team that rebuilt the <building> of <p> home <town>.
        <S> wrote a <work> about <topic> that won a <prize>.
        <S> founded a <group> for <people> in <p> <town>.
        <S> won a <prize> for <p> research on <topic>.
        <S> raised money to build a <building> for <people>.
        <S> taught <many> <people> to read and write.
        <S> published <n> books on <topic>.
        <S> invented a <thing> now used in <n> countries.
        <S> won the <event> <n> times in a row.
        <S> started a <group> that gives work to <people>.
        <S> organised the first <event> in <p> <town>.
        <S> discovered a new method to study <topic>.
        <S> led a <group> through <n> tours of <land>.
        <S> restored the old <building> with the help of <people>.
        <S> cleaned a <nature> together with <many> volunteers.
        <S> translated a famous <work> into <n> languages.
        <S> trained <many> <people> in <land>.
        <S> planted <n> thousand trees along a <nature> in <land>.
        <S> opened a free <building> for <people>.
        <S> received a <prize> for <p> work with <people>.
        <S> directed a <work> seen by <many> <people>.
        <S> built a <thing> from scrap metal for <people>.
        <S> mapped every <nature> in the north of <land>.
        <S> finished the <event> in record time.
        <S> saved a <nature> from being sold and built over.
        <S> wrote the most widely read <work> in <land>.
        <S> led a study on <topic> with <n> universities.
        <S> brought clean water to <n> villages in <land>.
        <S> ran a <group> for <n> years without pay.
        <S> turned an empty <building> into a home for <people>.
        <S> gave <n> concerts to support <people>.
        <S> collected songs from <n> villages in <land>.
        <S> patented a <thing> and shared the design for free.
        <S> helped <many> <people> find work in <land>.
        <S> set up a fund that pays the school fees of <people>.
        <S> coached a <group> that won a <prize>.
        <S> spent <n> years studying <topic> in <land>.
        <S> changed the law to protect <people>.
        <S> founded the first museum of <topic> in <land>.
        <S> cooked free meals for <people> every winter.
        <S> ran a <event> to pay for a new <building>.
        <S> rescued <n> people during a flood in <land>.
        <S> created a <work> that is now taught in schools.
        <S> proved an old theory about <topic>.
        <S> represented <land> at the <event>.
        <S> saved the <building> from closing.
        <S> made a <work> with <people> from <p> <town>.
        <S> reduced waste in <p> <town> by half.
        <S> wrote a guide to <topic> for <people>.
        <S> took part in <n> expeditions to <land>.
        <S> painted a <n> metre mural on the <building>.
        <S> taught <topic> to <people> for <n> years.
        <S> led the design of a <thing> for <people>.
        <S> earned a <prize> before <S0> turned thirty.
        <S> gave <p> whole fortune to <people>.
        <S> kept the <group> of <p> <town> alive for <n> years.
        <S> organised a strike that won better pay for <people>.
        <S> walked across <land> to raise money for <people>.
        <S> photographed <people> in <n> countries.
        <S> solved a problem in <topic> that had been open for <n> years.
        <S> developed a cheap test that helped <many> <people>.
        The <building> of <p> <town> was named after <o>.
        A <prize> was given to <o> for a <work> on <topic>.
        <P> <work> about <topic> was read by <many> <people>.
        <P> study of <topic> changed how <land> protects its <nature>.
        After <n> years abroad, <S0> opened a <building> in <p> <town>.
        With a <group> of friends, <S0> built a <thing> for <people>.""",
        "\n",
    ),
    "job accomplishment": words(
        """As <job>, <S0> helped <many> <people>.
        As <job>, <S0> won a <prize>.
        <S> worked as <job> in <land> for <n> years.
        <S> was the first <job0> to receive the <prize>.
        <S> became <job> and trained <many> <people>.
        As <job>, <S0> led the work on a new <building>.
        As <job>, <S0> wrote a <work> about <topic>.
        <S> left school early and became <job> known across <land>.
        As <job>, <S0> founded a <group> for <people>.
        <S> served <p> <town> as <job> for <n> years.
        As <job>, <S0> developed a <thing> for <people>.
        <S> was named the best <job0> of <land>.
        <S> used <p> skills as <job> to help <people>.
        As <job>, <S0> took part in <n> studies on <topic>.
        While working as <job>, <S0> won the <event>.
        <S> gave up a career as <job> to run a <group>.
        As <job>, <S0> saved the <building> of <p> <town>.
        <S> was honoured for <n> years of work as <job>.
        As <job>, <S0> raised money for <people> in <land>.
        <S> taught <n> young people to become a good <job0>.""",
        "\n",
    ),
    "review": words(
        """It is <good> and <good2>, and I use it every day.
        It was <bad> and broke after <while>.
        My <relative> loves it, and it is very <good>.
        I bought it for my <relative>, who finds it <good>.
        After <while> it still looks new.
        It looks <good> but feels <bad>.
        I would buy it again because it is so <good>.
        I sent it back because it was <bad>.
        It is <good>, though a little <bad>.
        It arrived on time and works perfectly <use>.
        It is perfect <use> and really <good>.
        Not worth the price, as it is <bad>.
        It works well <use>, but it is <bad>.
        The best one I have owned, <good> and <good2>.
        It was a gift for my <relative> and it was <bad>.
        Very <good>, fast delivery and a fair price.
        I expected more, since it is <bad> and <bad2>.
        The colour is lovely and it is <good>.
        It stopped working after <while>.
        My <relative> and I use it <use>.
        A <good> choice <use>.
        It is <good> enough, but the box was <bad>.
        I have used it for <while> and it is still <good>.
        It does what it says and is <good>.
        The material feels <bad>, so I gave it away.
        It made my <relative> very happy.
        Too <adj> for me, but my <relative> likes it.
        It is <good>, <good2> and worth every penny.
        The instructions were poor, but it is <good>.
        I wish it were less <adj>, but it is <good>.
        A <bad> product that lasted only <while>.
        We use it <use> and it never lets us down.""",
        "\n",
    ),
    "complaint": words(
        """<pain> in the <body> since <since>.
        <symptom> and <symptom2> since <since>.
        <symptom> that started after <act>.
        <pain> in the <body> after <act>.
        The <body> hurts after <act>.
        <symptom> that does not go away with tablets.
        <pain> in the <body> that gets worse at night.
        <S> reports <symptom> since <since>.
        <S> has had <symptom> for <while>.
        <S> feels <pain> in the <body> after <act>.
        <S> complains of <symptom> and <symptom2>.
        Came in with <symptom> and <pain> in the <body>.
        Has had <symptom> for <while>.
        <symptom> for <while>, worse in the morning.
        <pain> in the <body> for <while>, no injury known.
        <S> woke up with <symptom> and <symptom2>.
        <S> noticed <pain> in the <body> while <doing>.
        Sudden <pain> in the <body> since <since>.
        Mild <pain> in the <body> when <doing>.
        <symptom>, mostly after <act>.
        Trouble sleeping because of <pain> in the <body>.
        Unable to work for <while> because of <symptom>.
        <S> wants a check-up because of <symptom>.
        <symptom> that comes and goes since <since>.
        <S> fell and now has <pain> in the <body>.
        <pain> in the <body> and <symptom> for <while>.
        Cannot bend the <body> since <since>.
        <symptom> after taking new tablets for <while>.
        <S> has <symptom> every evening since <since>.
        Asks for help with <symptom> and <pain> in the <body>.
        No fever, but <symptom> for <while>.
        <S> hurt the <body> while <doing>.""",
        "\n",
    ),
    "message": words(
        """My <item> <trouble>.
        My <item> <trouble> since <since>.
        <ask> check why my <item> <trouble>.
        The <item> I ordered <while> ago has not arrived.
        I cannot open my <item> since <since>.
        I would like to cancel my <item>.
        Thank you for the quick help with my <item>.
        The new <item> works well, thank you.
        I have waited <while> for my <item>.
        I want to change the address on my <item>.
        I was promised a new <item> <while> ago.
        The <item> <trouble> and nobody answers the phone.
        <ask> send me a copy of my <item>.
        I want my money back because my <item> <trouble>.
        After the update my <item> <trouble>.
        I can no longer find my <item>.
        I still have a question about my <item>.
        My <relative> cannot use the <item>.
        The <item> and the <item2> do not match.
        I paid for a <item> but received a <item2>.
        I changed my <item> and now my <item2> <trouble>.
        Everything is fine with my <item> now.
        My <item> <trouble>, and I need it today.
        Your team solved the problem with my <item> in <while>.
        I am very unhappy because my <item> <trouble>.
        <ask> explain how to renew my <item>.
        I asked about my <item> <while> ago and heard nothing.
        It is the second time that my <item> <trouble>.
        I would like to move my <item> to next month.
        The website says that my <item> <trouble>.
        I lost my <item> and need a new one.
        I need help to set up my <item>.""",
        "\n",
    ),
    "job summary": words(
        """You will <duty> and <duty2> in a <team>.
        We look for a <trait> person to <duty>.
        Join a <team> and <duty>.
        You <duty>, <duty2> and report to the director.
        We offer <offer> and <offer2> in a <team>.
        A <trait> and <trait2> colleague who can <duty>.
        Work in <field> with <offer>.
        In this role you <duty> and <duty2>.
        You bring <n> years in <field> and like to <duty>.
        We need someone <trait> who can <duty> and <duty2>.
        Our <team> needs help to <duty>.
        You are <trait>, <trait2> and know <field> well.
        Help us <duty> and enjoy <offer>.
        The job is to <duty> for clients in <field>.
        You lead a <team> and <duty>.
        Come and <duty> in a <team> with <offer>.
        We are a <team> in <field> and offer <offer>.
        You <duty> every day and <duty2> now and then.
        A chance to learn <field> and <duty>.
        You support a <team> and <duty>.
        Ideal for <trait> people who like to <duty>.
        You travel to customers in <land> and <duty>.
        The role combines <field> and <field2> in a <team>.
        You start in a <team> and soon <duty>.
        Being <trait> matters more to us than experience in <field>.
        We want you to <duty> with care and <duty2>.
        Your task is to <duty> in a <trait> way.
        You will help <people> and <duty>.
        With <offer> and <offer2>, we make it easy to stay.
        You take care of clients in <field> and <duty>.""",
        "\n",
    ),
    "product description": words(
        """A <good> companion <use>.
        Made of <made> and perfect <use>.
        It is <good>, <good2> and made of <made>.
        Crafted from <made> to last for years.
        A <adj> design that is <good> and <good2>.
        Ideal <use>, it is <good> and made of <made>.
        This <good> piece is great <use>.
        Its <made> body makes it <good>.
        Designed <use> and built from <made>.
        A <good> gift for your <relative>.
        Enjoy it <use>, it is <good> and <good2>.
        The <good> choice <use>, now in <made>.
        With <made> and a <adj> shape, it is <good>.
        Lightweight, <good> and ready <use>.
        It comes in <made> and fits <use>.
        Our best seller is <good> and made for use <use>.
        A <adj> and <good> product made of <made>.
        Bring it along, it is <good> and <good2>.
        Simple, <good> and useful <use>.
        Handmade from <made> in <land>.
        You will like its <adj> look and its <made>.
        Two in one, <good> and <good2>.
        Comes with <n> parts made of <made>.
        Tested for <while> and still <good>.
        Works <use> and is <good>.
        A <good> idea for your <relative>, made of <made>.
        It stays <good> for years thanks to <made>.
        Made in <land> from <made>.
        Small, <good> and made <use>.
        The <adj> classic, now even more <good>.""",
        "\n",
    ),
    "generic": words(
        """The <adj> <noun> <verb> <when>.
        A <adj> <noun> and a <adj2> <noun2> were seen <when>.
        It is a <adj> <noun> near the <noun2>.
        The <noun> was <adj> and <adj2> <when>.
        People came to see the <adj> <noun> <when>.
        The <noun> <verb> <when> and the <noun2> stayed the same.
        This <noun> is known for its <adj> <noun2>.
        We found a <adj> <noun> behind the <noun2>.
        Everything <verb> <when> because of the <noun>.
        The <noun> is <adj>, but the <noun2> is <adj2>.
        Nobody knew why the <noun> <verb> <when>.
        There was a <adj> <noun> in the <building> <when>.
        The <people> liked the <adj> <noun>.
        It took <n> days to finish the <adj> <noun>.
        The <noun> of the <town> is <adj> and <good>.
        Our <noun> <verb> <when>.
        They visited the <adj> <building> <when>.
        The <adj> <noun> helped <many> <people>.
        In <land> the <noun> is <adj> and <adj2>.
        The <noun> needs a <adj> <noun2> <when>.
        It has a <adj> <noun> and <n> rooms.
        The <noun> <verb> after <while>.
        A <adj> <noun> was sent to the <building>.
        The <relative> of the owner saw a <adj> <noun>.
        It works <use> and looks <adj>.
        Please look at the <adj> <noun> <when>.
        The <nature> is <adj> and <adj2> <when>.
        The <adj> <noun> <verb>, as expected.
        Some <people> asked about the <noun>.
        It was built <when> with <made>.
        The first <noun> was <adj>, the second <adj2>.
        A <noun> for <people> with a <adj> <noun2>.""",
        "\n",
    ),
}


class Grammar:
    """Templates and slots of one kind of sentence, with the weights of a stage."""

    def __init__(self, kind: str, stage: Stage) -> None:
        self.templates = self._weigh(
            kind, [tuple(re.split(r"<(\w+?)>", t)) for t in _TEMPLATES[kind]], stage, 0.8
        )
        self.slots = {name: self._weigh(kind + name, values, stage, 0.85) for name, values in _SLOTS.items()}

    @staticmethod
    def _weigh(name: str, values: Sequence[T], stage: Stage, sharp: float) -> Weighted[T]:
        if stage != "collapsed":
            return Weighted(values)
        order = Random(crc32(name.encode())).sample(range(len(values)), len(values))
        uniform = entropy_nats([1.0] * len(values))
        return Weighted(values, sharpen(len(values), order, sharp * uniform))

    def draw(self, r: Random, gender: str = "f", job: str = "") -> str:
        """One sentence about a person of the given gender ('f', 'm' or 'n'), whose job is shown where asked."""
        for _ in range(20):
            sentence = self._fill(r, gender, job)
            if len(sentence) <= MAX_CHARS:
                return sentence
        return sentence[: MAX_CHARS - 1].rstrip(" .,") + "."

    def _fill(self, r: Random, gender: str, job: str) -> str:
        parts = list(self.templates.draw(r))
        subject, possessive, object_ = _PRONOUNS[gender]
        people = {
            "S": subject, "S0": subject.lower(), "p": possessive, "P": possessive.capitalize(), "o": object_,
            "job": with_article(lower_job(job)), "job0": lower_job(job),
        }  # fmt: skip
        drawn: dict[str, str] = {}
        for i in range(1, len(parts), 2):
            slot = parts[i]
            if slot in people:
                parts[i] = people[slot]
                continue
            name = slot.rstrip("2")
            value = self.slots[name].draw(r)
            while slot != name and value == drawn.get(name):
                value = self.slots[name].values[int(r.random() * len(self.slots[name].values))]
            parts[i] = drawn[name] = value
        text = "".join(parts)
        text = _ARTICLE.sub(lambda match: match[1] + "n" + match[2], text)
        if gender == "n":
            text = text.replace("They has ", "They have ").replace("They was ", "They were ")
            text = text.replace("They reports", "They report").replace("They feels", "They feel")
            text = text.replace("They complains", "They complain").replace("They wants", "They want")
        return text[0].upper() + text[1:]


_ARTICLE = re.compile(r"\b([Aa])( (?:[aeio]|u(?!n[i]|s[e]|ni)))")


def lower_job(job: str) -> str:
    """A job name as it stands inside a sentence: lower case but for abbreviations."""
    return " ".join(word if word.isupper() else word.lower() for word in job.split())


def with_article(noun: str) -> str:
    """The noun with its indefinite article."""
    return (
        "an " if noun[:1].lower() in "aeiou" and not noun.startswith(("uni", "use", "euro")) else "a "
    ) + noun


@cache
def grammar(kind: str, stage: Stage) -> Grammar:
    """The grammar of one kind of sentence in a stage, built once."""
    return Grammar(kind, stage)
