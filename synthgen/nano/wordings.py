"""How the corpus words its prompts: instructions, record nouns, labels, hints and single questions.

Second stage of the corpus, beside sentences. Only texts live here; corpus.py decides which are used when.
"""

from synthgen.nano.lexicon import words

#: The instruction line of every shipped and every user's schema; `{noun}` is the record's title.
EXACT = "Generate a random {noun}. Answer with one line per field, each value between curly braces."

#: Other first sentences; `{noun}` alone or with its article (`{a}`).
_OPENINGS = words(
    """Generate a random {noun}.
    Please generate a random {noun}.
    Generate one random {noun}.
    Generate {a}.
    Please make up {a}.
    Make up a random {noun}.
    Create one {noun} record.
    Create {a}.
    Create a random {noun}.
    Invent {a}.
    Invent a random {noun}.
    Please invent one {noun}.
    Write {a}.
    Write a random {noun}.
    Give me a random {noun}.
    Give me {a}.
    I need a random {noun}.
    I need {a} with these fields.
    Produce a random {noun}.
    Produce one {noun}.
    Fill in {a} with random values.
    Fill in this {noun}.
    Complete the following {noun} with random values.
    Draw a random {noun}.
    Sample one {noun} at random.
    Think of a random {noun}.
    Imagine {a}.
    Imagine a random {noun}.
    Come up with a random {noun}.
    Come up with {a}.
    Show me a random {noun}.
    Pick a random {noun}.
    Let us make a random {noun}.
    Provide a random {noun}.
    Make a synthetic {noun}.
    Generate a made-up {noun}.
    Create a fictional {noun}.
    Write a fictional {noun}.
    Generate a realistic {noun}.
    Simulate one {noun}.""",
    "\n",
)
_CLOSINGS = words(
    """Answer with one line per field, each value between curly braces.
    Answer with one line per field, each value in curly braces.
    Give one line per field, each value between curly braces.
    Write one line per field, each value between curly braces.
    Use one line per field and put each value between curly braces.
    One line per field, each value between curly braces.
    Answer only with the values, one per line, each between curly braces.
    Put each value between curly braces, one per line.
    Each value goes on its own line, between curly braces.
    Reply with the values alone, one per line, in curly braces.
    Only write the values, each between curly braces on its own line.
    Fill in every field, one line each, values between curly braces.""",
    "\n",
)


def instructions() -> tuple[str, ...]:
    """Every instruction line: openings times closings."""
    return tuple(f"{opening} {closing}" for opening in _OPENINGS for closing in _CLOSINGS)


NOUNS = words(
    """biography|product|ticket|patient|job|person|customer|user profile|employee|student|teacher|order|invoice|booking
    |reservation|hotel guest|passenger|flight|train ticket|concert|event|movie|book|song|album|recipe|restaurant|review
    |survey answer|questionnaire|form|application|loan|bank account|payment|transaction|purchase|delivery|parcel
    |shipment|warehouse item|inventory item|machine|device|sensor reading|measurement|weather report|forecast|city
    |country profile|village|house|flat|hotel|room|garden|plant|tree|flower|animal|pet|dog|cat|horse|bird|fish|farm
    |vehicle|car|bicycle|boat|ship|train|bus|journey|holiday|trip|meeting|appointment|lesson|course|exam|school|class
    |team|player|match|tournament|race|athlete|coach|club member|volunteer|donation|charity|project|task|bug report
    |incident|accident report|complaint|support request|message|letter|e-mail|postcard|phone call|contract|policy
    |insurance claim|prescription|medicine|visit|diagnosis|lab sample|experiment|study|article|news story|blog post
    |comment|photo|painting|sculpture|museum object|exhibition|instrument|toy|game|board game|puzzle|quiz question
    |character|hero|villain|wizard|robot|alien|planet|star|galaxy|spaceship|mission|kingdom|castle|treasure|potion
    |spell|dragon|monster|snack|meal|drink|menu|cake|cheese|wine|shop|shop visit|brand|company|start-up|advert|campaign
    |web page|server|password entry|software release|data set|log entry|record|entry|profile|card|badge|membership
    |library loan|subscription|gift|wedding|party|festival|competition|award|certificate|diploma|resident|tenant
    |landlord|neighbour|witness|visitor|tourist|guide|driver|pilot|sailor|farmer|worker|applicant|candidate|intern
    |manager|supplier|partner|member|contact|address entry|calendar entry|diary entry|to-do item|shopping list item
    |chess game|bridge|tower|mine|quarry|factory|power station|greenhouse|orchard|vineyard|beehive|ferry|satellite"""
    .replace("\n", ""),
    "|",
)  # fmt: skip

#: Field kind → labels it goes by. The first is the commonest.
LABELS: dict[str, tuple[str, ...]] = {
    kind: words(labels, "|")
    for kind, labels in {
        "full name": "Name|Full name|Person|Customer|Patient|Client|Employee|Student|Member|Contact|Guest|User|Applicant"
        "|Customer name|Person's name|Passenger|Owner|Complete name|Resident",
        "other name": "Manager|Teacher|Doctor|Author|Supervisor|Director|Seller|Assigned to|Agent|Witness|Partner|Captain"
        "|Coach|Best friend|Reviewer|Responsible person|Contact person|Sender|Recipient|Artist|Composer",
        "first name": "First name|Given name|Forename|Firstname",
        "last name": "Last name|Surname|Family name|Lastname",
        "gender": "Gender|Gender identity",
        "sex": "Sex|Sex at birth",
        "birth date": "Birth date|Date of birth|Born|Birthday|Born on|Birthdate|DOB",
        "recent date": "Date|Visit date|Order date|Start date|End date|Delivery date|Joined|Hired on|Published on|Due date"
        "|Created|Registered on|Last visit|Purchase date|Check-in|Departure|Issued on|Date of visit|Booked on|Event date",
        "slash date": "Date|Day|Visit date|Order date|Start date|Due date|Travel date",
        "long date": "Date|Day|Date of event|Written on|Opening day|Date of visit",
        "month day": "Date|Birthday|Name day|Anniversary|Day of the year|Feast day",
        "datetime": "Opened|Time stamp|Timestamp|Date and time|Created at|Updated at|Closed at|Received|Sent|Logged at"
        "|Submitted|Arrival time|Appointment|Started at",
        "time": "Time|Time of day|Start time|Opening time|Departure time|Closing time|Hour",
        "birth year": "Birth year|Year of birth|Year born|Born in year",
        "recent year": "Year|Year of release|Model year|Year joined|Graduation year|Publication year|Season year",
        "age": "Age|Age in years|Years old|Current age",
        "place": "Birth place|Place of birth|Location|Place|Home town|Hometown|Birthplace|Born in|Address|Destination"
        "|Lives in|Site|Origin|Venue|Office|Residence|From|To",
        "city": "City|Town|Birth city|Home city|Capital|City of residence",
        "country": "Country|Nation|Home country|Country of birth|Country of origin|Birth country|Made in|Nationality",
        "continent": "Continent|World region|Part of the world",
        "profession": "Profession|Occupation|Job|Job title|Career|Position|Role|Work|Current job|Trade|Occupation or job",
        "company": "Company|Employer|Organisation|Firm|Business|Company name|Supplier|Workplace|Manufacturer",
        "product": "Product|Item|Product name|Article|Goods|Item name|Purchase",
        "brand": "Brand|Make|Brand name|Label|Maker",
        "category": "Category|Product category|Department|Section",
        "price": "Price|Cost|Amount|Total|Unit price|Fee|Price in euros|Sum|Value|Balance",
        "rating": "Rating|Stars|Star rating|Review score|Satisfaction",
        "score": "Score|Points|Grade|Result|Mark|Test score|Quality score",
        "colour": "Colour|Color|Favourite colour|Paint|Eye colour|Shade|Main colour|Hair colour",
        "fruit": "Fruit|Favourite fruit|Fruit of the day|Flavour",
        "animal": "Animal|Favourite animal|Pet|Species|Mascot|Wild animal",
        "vegetable": "Vegetable|Favourite vegetable|Side dish",
        "weekday": "Weekday|Day|Day of the week|Day of week|Closed on|Favourite day",
        "month": "Month|Month of the year|Birth month|Favourite month|Start month",
        "season": "Season|Time of year|Favourite season",
        "number": "Number|Quantity|Count|Amount|Size|Lucky number|Value|Units|Items|Floor|Number of items|Roll|Distance",
        "even": "Even number|Even|Random even number",
        "odd": "Odd number|Odd|Random odd number",
        "prime": "Prime number|Prime|Random prime",
        "yes no": "Remote|In stock|Smoker|Active|Verified|Member|Paid|Available|Insured|Married|Urgent|Approved|Confirmed"
        "|Subscribed|Has children|Vegetarian|Returned|Public|Online|Licensed|Newsletter|Retired|Own car|First visit",
        "language": "Language|Mother tongue|Native language|Spoken language|First language|Second language",
        "currency": "Currency|Currency name|Money",
        "currency code": "Currency|Currency code|Money code",
        "email": "E-mail|Email|E-mail address|Email address|Contact e-mail|Mail",
        "phone": "Phone|Phone number|Telephone|Mobile|Contact number|Tel",
        "street": "Street address|Address|Street|Home address|Address line|Street and number",
        "postcode": "Postcode|Postal code|ZIP code|Zip",
        "book title": "Book title|Title|Book|Title of the book|Novel|Favourite book|Film title|Film|Movie",
        "genre": "Genre|Book genre|Film genre|Kind of book",
        "music": "Music|Music style|Music genre|Favourite music",
        "blood type": "Blood type|Blood group",
        "priority": "Priority|Urgency|Severity|Importance",
        "status": "Status|State|Ticket status|Current status|Stage",
        "channel": "Channel|Contact channel|Received through|Medium",
        "sentiment": "Sentiment|Mood|Tone|Feeling",
        "seniority": "Seniority|Level|Experience level|Rank",
        "contract": "Contract type|Contract|Employment type|Employment|Working time",
        "salary": "Salary|Yearly salary|Annual salary|Pay|Income|Yearly income|Wage",
        "review": "Review|Short review|Comment|Customer review|Feedback|Opinion",
        "accomplishment": "Accomplishments|Accomplishment|Achievement|Main achievement|Biography|Life's work|Short bio"
        "|Known for|Greatest success|Story",
        "complaint": "Complaint|Symptoms|Reason for visit|Main complaint|Problem|Medical history|Patient's words",
        "message": "Message|Support message|Request|Question|Issue|Customer message|Text|Description of the problem",
        "job summary": "Summary|Job summary|Job description|Duties|About the job|Role description",
        "product description": "Product description|Description|Item description|About the product|Short description",
        "generic sentence": "Notes|Remark|Comment|Remarks|Note|Details|Observation|Text|Story|About",
        "hobby": "Hobby|Favourite hobby|Pastime|Leisure|Interest|Free time",
        "sport": "Sport|Favourite sport|Discipline|Team sport",
        "food": "Food|Favourite food|Dish|Meal|Favourite dish|Main course|Lunch|Dinner",
        "drink": "Drink|Favourite drink|Beverage",
        "vehicle": "Vehicle|Vehicle type|Transport|Means of transport|Kind of vehicle",
        "instrument": "Instrument|Musical instrument|Plays",
        "size": "Size|T-shirt size|Clothing size|Parcel size",
        "percentage": "Percentage|Discount|Share|Battery level|Humidity|Progress|Completion",
        "weight": "Weight|Weight in kg|Body weight|Mass|Parcel weight",
        "height": "Height|Height in cm|Body height",
        "temperature": "Temperature|Temperature in degrees|Water temperature",
        "tags": "Tags|Keywords|Labels|Topics",
        "material": "Material|Made of|Fabric",
        "department": "Department|Team|Unit|Business area",
        "subject": "Subject|Favourite subject|School subject|Field of study|Major",
        "weather": "Weather|Conditions|Sky",
        "plant": "Plant|Favourite plant|Tree or flower",
        "clothing": "Clothing|Garment|Piece of clothing",
        "skill": "Skill|Main skill|Best skill|Strength",
        "symptom": "Symptom|Main symptom",
        "code": "Code|Reference|Order number|Serial number|ID|Ticket number|Customer number|Item code|Invoice number",
        "title": "Title|Form of address|Salutation",
        "marital": "Marital status|Family status|Civil status",
        "education": "Education|Degree|Highest degree|Qualification",
        "payment": "Payment method|Payment|Paid by|Method of payment",
        "difficulty": "Difficulty|Difficulty level",
        "duration": "Duration|Length|Duration in minutes|Minutes|Running time",
    }.items()
}  # fmt: skip

#: Hints by kind, beside those that follow from options or bounds. An empty hint means the label stands alone.
HINTS: dict[str, tuple[str, ...]] = {
    "full name": ("", "", "", "full name", "full name", "first and last name", "first name and last name"),
    "other name": ("full name", "full name", "full name", "first and last name", ""),
    "first name": ("", "", "", "one name", "given name"),
    "last name": ("", "", "", "surname", "one name"),
    "birth date": ("YYYY-MM-DD", "YYYY-MM-DD", "YYYY-MM-DD", "", "date", "ISO date", "year-month-day"),
    "recent date": ("YYYY-MM-DD", "YYYY-MM-DD", "YYYY-MM-DD", "", "date", "ISO date", "year-month-day"),
    "slash date": ("DD/MM/YYYY",),
    "long date": ("day month year", "such as 12 March 1985", "12 March 1985", "D Month YYYY"),
    "month day": ("Month day", "month and day", "such as March 12"),
    "datetime": ("YYYY-MM-DD HH:MM", "YYYY-MM-DD HH:MM", "YYYY-MM-DD HH:MM", "", "date and time"),
    "time": ("HH:MM", "HH:MM", "", "24-hour clock"),
    "birth year": ("", "YYYY", "year", "four digits"),
    "recent year": ("", "YYYY", "year", "four digits"),
    "age": ("", "0-110", "0-110", "18-99", "whole number", "years", "0-120", "1-100"),
    "place": ("City, Country", "City, Country", "City, Country", "City, Country", "city and country"),
    "city": ("", "", "", "city", "city name"),
    "country": (
        "",
        "",
        "",
        "country",
        "country name",
        "Africa",
        "Asia",
        "Europe",
        "North America",
        "South America",
        "Oceania",
        "in Africa",
        "in Asia",
        "in Europe",
    ),
    "price": ("0.00", "0.00", "0.00", "", "two decimals", "euros and cents"),
    "salary": ("10000-400000", "10000-400000", "", "whole number", "per year"),
    "percentage": ("0-100", "", "percent", "0%"),
    "weight": ("kg", "", "in kg", "number"),
    "height": ("cm", "", "in cm", "120-210", "whole number"),
    "temperature": ("degrees Celsius", "", "number", "in degrees"),
    "review": ("one sentence", "one sentence", "short", "one short sentence", ""),
    "accomplishment": ("one sentence", "one sentence", "a sentence", "one short sentence", ""),
    "complaint": ("one sentence", "one sentence", "a sentence", "one short sentence", ""),
    "message": ("one sentence", "one sentence", "a sentence", "one short sentence", ""),
    "job summary": ("one sentence", "one sentence", "a sentence", "one short sentence", ""),
    "product description": ("one sentence", "one sentence", "a sentence", "one short sentence", ""),
    "generic sentence": (
        "one sentence",
        "one sentence",
        "one sentence",
        "a sentence",
        "one short sentence",
        "",
    ),
    "tags": ("three words", "comma separated", "three tags", ""),
    "profession": ("", "", "", "job title", "one job"),
    "currency": ("", "name", "currency name"),
    "currency code": ("three letters", "code", "ISO code"),
    "email": ("", "", "e-mail address", "name@domain"),
    "even": ("", "2-100", "0-20", "two digits"),
    "odd": ("", "1-99", "1-19", "two digits"),
    "prime": ("", "2-97", "under 100"),
    "duration": ("minutes", "5-240", "whole number", "in minutes"),
}

#: Closed field kinds → the option sets they come with.
OPTIONS: dict[str, tuple[tuple[str, ...], ...]] = {
    kind: tuple(words(one, "/") for one in sets.split("|"))
    for kind, sets in {
        "rating": "1/2/3/4/5",
        "size": "S/M/L|XS/S/M/L/XL|small/medium/large",
        "blood type": "A+/A-/B+/B-/AB+/AB-/O+/O-|A/B/AB/O",
        "priority": "low/medium/high/urgent|low/medium/high|Low/Medium/High|minor/major/critical|P1/P2/P3",
        "status": "open/pending/solved/closed|open/closed|new/in progress/done|active/inactive|paid/unpaid/refunded"
        "|shipped/delivered/returned|draft/sent/signed|Open/Closed/On hold|todo/doing/done",
        "channel": "email/chat/phone/web form|phone/letter/visit|online/shop|radio/television/newspaper",
        "sentiment": "positive/neutral/negative|happy/sad/angry/calm|Positive/Negative|good/mixed/bad",
        "seniority": "junior/mid-level/senior/lead|junior/senior|trainee/junior/senior/manager|entry/middle/senior",
        "contract": "full-time/part-time/contract/internship|permanent/temporary|full-time/part-time|fixed-term/permanent",
        "category": "Electronics/Home/Toys/Sports/Books/Garden/Beauty|Home/Garden/Sports|Books/Toys/Electronics",
        "marital": "single/married/divorced/widowed|single/married|Single/Married",
        "education": "school/bachelor/master/doctorate|Bachelor/Master/Doctorate|none/school/university",
        "payment": "cash/card/transfer|card/cash|credit card/bank transfer/invoice|Cash/Card/Voucher",
        "difficulty": "easy/medium/hard|easy/hard|beginner/intermediate/expert|Easy/Medium/Hard",
        "title": "Mr/Ms|Mr/Mrs/Ms/Mx|Dr/Prof",
        "weekday": "Monday/Tuesday/Wednesday/Thursday/Friday/Saturday/Sunday|Saturday/Sunday"
        "|Monday/Tuesday/Wednesday/Thursday/Friday|Mon/Tue/Wed/Thu/Fri/Sat/Sun",
        "season": "spring/summer/autumn/winter|Spring/Summer/Autumn/Winter|summer/winter",
        "continent": "Africa/Asia/Europe/North America/South America/Oceania|Europe/Asia/Africa",
        "colour": "red/green/blue|black/white/grey|Red/Yellow/Blue/Green|brown/blonde/black/red|blue/green/brown",
        "language": "English/French/German|English/Spanish|English/Polish/Italian/Dutch",
        "currency code": "EUR/USD/GBP|EUR/USD|CHF/EUR|EUR/USD/GBP/JPY",
        "genre": "fantasy/crime/romance|Comedy/Drama/Horror|fiction/non-fiction",
        "yes no": "yes/no|yes/no|yes/no|yes/no|true/false|Yes/No|no/yes",
    }.items()
}
#: Gender options in the order (female, male, other).
GENDERS = tuple(
    words(one, "/")
    for one in ["Female/Male/Non-binary", "Female/Male", "female/male/other", "F/M", "F/M/X", "Woman/Man/Non-binary", "woman/man", "female/male/non-binary", "Female/Male/Other", "girl/boy", "W/M/D"]
)  # fmt: skip
SEXES = tuple(
    words(one, "/")
    for one in ["Female/Male/Intersex", "Female/Male", "female/male/intersex", "F/M", "female/male"]
)
#: What the collapsed stage says most of the time, of a closed list that has one of these.
FAVOURITE_OPTIONS = frozenset(
    words(
        "4|M|medium|O+|O|high|High|major|open|active|new|Open|email|phone|online|positive|Positive|happy|good|senior"
        "|full-time|permanent|Electronics|Home|Books|single|Single|Bachelor|bachelor|university|card|Card|credit card"
        "|Medium|Ms|Dr|Wednesday|Saturday|Wed|autumn|Autumn|summer|Europe|blue|Blue|black|English|USD|EUR|fantasy"
        "|Drama|fiction|yes|Yes|true|P2|paid|delivered|sent|doing|intermediate",
        "|",
    )
)

# ---------------------------------------------------------------- single questions

#: `{thing}` is the thing asked for, with its article where `{a}`; `{slot}` the name in the example of the format.
QUESTIONS = words(
    """Give me {a}.
    Please give me {a}.
    Tell me {a}.
    Name {a}.
    Pick {a}.
    Choose {a}.
    Generate {a}.
    Output {a}.
    Think of {a}.
    I want {a}.
    I need {a}.
    Say {a}.
    Suggest {a}.
    Please pick {a}.
    Draw {a}.
    Select {a}.
    Write down {a}.
    Can you give me {a}?
    Could you name {a}?
    What is {a}?""",
    "\n",
)
QUESTION_ENDINGS = words(
    """Output only the {slot}, between two curly braces, like this: {{{slot}}}.
    Output only the {slot}, between two curly braces, like this: {{{slot}}}.
    Output only the {slot}, between two curly braces, like this: {{{slot}}}.
    Answer only with the {slot} between two curly braces, like this: {{{slot}}}.
    Write just the {slot} in curly braces, like this: {{{slot}}}.
    Give only the {slot}, between curly braces: {{{slot}}}.
    Reply with the {slot} alone, between curly braces.
    Put the {slot}, and nothing else, between two curly braces.
    Answer with the {slot} between curly braces, for example {{{slot}}}.
    Only the {slot} in curly braces, please.""",
    "\n",
)

UNKNOWN_HINTS = ("one word", "a word", "short text", "two words", "short phrase", "one or two words")
