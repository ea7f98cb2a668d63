"""Twenty contacts of Lumen & Oak, a small shop for lamps that does not exist, and what they ask."""

from __future__ import annotations

from typing import NamedTuple


class Contact(NamedTuple):
    """Somebody who asks, and the questions in their order."""

    contact_id: str
    questions: tuple[str, ...]
    lang: str | None = None


CONTACTS = (
    Contact(
        "ines.okafor",
        (
            "Hi! Is the Alder desk lamp dimmable without a separate dimmer?",
            "And which bulb does it take?",
            "Great, can I still add one to the order I placed this morning?",
        ),
    ),
    Contact(
        "tomas.lind",
        (
            "My parcel says delivered, but there is nothing at my door.",
            "The neighbour does not have it either. What happens now?",
            "How long does the carrier take to look for it?",
        ),
    ),
    Contact(
        "priya.raman",
        (
            "Do you ship to Norway?",
            "Who pays the customs duties?",
            "Could you mark it as a gift, without a price in the box?",
        ),
    ),
    Contact(
        "j.whitfield",
        (
            "The glass of my Fjord pendant arrived with a crack.",
            "Do you need a photo?",
            "I'd rather have a new shade than send the whole lamp back. Is that possible?",
        ),
    ),
    Contact(
        "marta.nowak",
        (
            "Can I return a lamp after the 30 days if the box was never opened?",
            "Do I have to pay for the return label?",
            "When will I see the money on my card?",
        ),
    ),
    Contact(
        "studio-kerr",
        (
            "We furnish a hotel with 48 rooms. Do you have trade prices?",
            "What is the lead time for 60 Brook wall lights?",
            "Can the invoice go to another address than the delivery?",
        ),
    ),
    Contact(
        "leo.castellan",
        (
            "Your site takes my discount code but the total stays the same?",
            "It is SPRING15, from the newsletter.",
            "OK it worked in another browser. Does it also count for clearance?",
        ),
    ),
    Contact(
        "aiko.mori",
        (
            "Is the oak from certified forests?",
            "What oil is the surface treated with? My son is allergic to linseed.",
            "Thank you. Do you sell the oil on its own?",
        ),
    ),
    Contact(
        "h.vandermeer",
        (
            "What is the colour temperature of the Moor floor lamp?",
            "2700 K would be too warm for reading notes. Is there a 4000 K version?",
            "How tall is it with the arm stretched out?",
        ),
    ),
    Contact(
        "clara.weiss",
        (
            "Passt die Buche-Stehlampe unter eine Dachschräge von 1,60 m?",
            "Gibt es das Kabel auch in Schwarz?",
            "Kann ich sie in Ihrem Laden ansehen?",
        ),
        "de",
    ),
    Contact(
        "sam.ferreira",
        (
            "Where do I find my order number?",
            "I never got a confirmation mail, maybe I mistyped my address.",
            "Can you change it to the right one?",
        ),
    ),
    Contact(
        "dr.osei",
        (
            "Does the five-year warranty cover the LED module?",
            "Mine started to flicker after two years. It hangs in a bathroom.",
            "Which parts may I replace myself without losing the warranty?",
        ),
    ),
    Contact(
        "noor.haddad",
        (
            "I moved last week and forgot to change my delivery address 😬",
            "It has shipped already. Can the carrier redirect it?",
            "And how do I change the address for the future?",
        ),
    ),
    Contact(
        "paul.gagnon",
        (
            "Can your wall lights be wired to a motion sensor?",
            "Do they work with 120 V?",
            "Is there a wiring diagram I can give to my electrician?",
        ),
    ),
    Contact(
        "elena.vidal",
        (
            "¿La lámpara Brezo se puede usar en el exterior?",
            "¿Qué grado de protección tiene?",
            "¿Hay recambio para el cristal?",
        ),
        "es",
    ),
    Contact(
        "ruth.abel",
        (
            "I have a gift card, where do I enter it?",
            "It says 'already used' but I never used it!",
            "The last four characters are 7QX2, bought in December.",
        ),
    ),
    Contact(
        "bakery-tilde",
        (
            "Do you rent lamps for an event in October?",
            "We would need about twenty for three days.",
            "Would you also hang them?",
        ),
    ),
    Contact(
        "kofi.mensah",
        (
            "How do I clean linen shades?",
            "There's a coffee stain on one, the vacuum does nothing for that.",
            "If it does not come out: what does a new shade cost?",
        ),
    ),
    Contact(
        "greta.holm",
        (
            "Is the shop open on Saturday before the holiday?",
            "Is there somewhere to park with a van?",
            "Can you put the Alder in walnut aside for me until then?",
        ),
    ),
    Contact(
        "victor.danes",
        (
            "Please delete my account and everything you know about me.",
            "Do I get a confirmation of that?",
            "What about the invoices, do you have to keep those?",
        ),
    ),
)
