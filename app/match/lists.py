"""Lists that normalisation looks things up in: what carries no evidence, who ignores dots, what is short for what."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


# Mailboxes of a function, read by several people.  RFC 2142 names the first three lines; the rest are the ones that
# mailing services refuse or flag as role addresses (Mailchimp, Klaviyo), with their usual translations.
ROLE_LOCALS: Final = _words("""
    info marketing sales support abuse noc security postmaster hostmaster usenet news webmaster www uucp ftp
    admin administrator root mailerdaemon
    accounting accounts all billing booking bookings business careers center contact contactus customer customercare
    customerservice delivery designs email enquiries enquiry everyone events feedback finance frontdesk general hello
    help helpdesk hi hr inquiries inquiry invoice invoices invoicing it jobs kontakt kundenservice legal list mail
    mailbox management media members newsletter noreply donotreply notifications office offers orders orderdesk
    partners payments payroll personal press privacy procurement purchasing reception recruiting registrar rsvp shop
    service services staff store subscribe team tech unsubscribe user users
    ventas verkauf vertrieb buchhaltung bestellung rechnung bewerbung empfang sekretariat zentrale buero contacto
    contato contatti informacion informazioni amministrazione comercial commercial comptabilite accueil compta
    direction secretariat
""")

# Of these also the branches are: ``sales-emea``, ``info.berlin``, ``office2``.
ROLE_STEMS: Final = _words("""
    info sales support service office contact kontakt admin billing accounts hr jobs marketing press reception team
    helpdesk help hello noreply newsletter orders invoices purchasing webmaster vertrieb ventas
""")

# The part before the @ of an address that somebody typed because a form wanted one.
PLACEHOLDER_LOCALS: Final = _words("""
    test tester testing test1 test2 test123 asdf qwerty abc abc123 none noemail nomail noaddress noname na null nil
    unknown unbekannt anonymous anon nobody noone notprovided notavailable notapplicable example sample dummy fake
    placeholder xxx xx x tbd tba todo guest default no nospam spam invalid donotemail dontemail email1 user1
    firstname lastname firstnamelastname yourname youremail johndoe
""")

# Providers that deliver ``a.b`` and ``ab`` to one mailbox.
# https://support.google.com/mail/answer/7436150 (Gmail; not for Google Workspace domains)
DOTS_IGNORED: Final = _words("gmail.com googlemail.com")

# Providers that deliver ``a+tag`` to the mailbox of ``a`` (subaddressing, RFC 5233), each by its own help pages.
PLUS_IGNORED: Final = DOTS_IGNORED | _words("""
    outlook.com hotmail.com live.com msn.com icloud.com me.com mac.com fastmail.com fastmail.fm proton.me
    protonmail.com pm.me zoho.com hey.com mailbox.org posteo.de
""")

# Two names of one provider: the same mailbox answers to both.
# https://support.google.com/mail/answer/10313  ·  https://proton.me/support/addresses-and-aliases
SAME_PROVIDER: Final[Mapping[str, str]] = MappingProxyType(
    {"googlemail.com": "gmail.com", "pm.me": "proton.me", "protonmail.com": "proton.me"}
)

# Providers that give an address to anybody: the domain says nothing about the employer.  RFC 2606 keeps the last three.
FREE_PROVIDERS: Final = PLUS_IGNORED | _words("""
    yahoo.com yahoo.co.uk yahoo.fr yahoo.de yahoo.es yahoo.it yahoo.co.in yahoo.com.br yahoo.com.au yahoo.ca
    yahoo.co.jp ymail.com rocketmail.com aol.com aim.com hotmail.co.uk hotmail.fr hotmail.de hotmail.es hotmail.it
    live.co.uk live.fr live.nl outlook.de outlook.fr outlook.es gmx.de gmx.net gmx.com gmx.at gmx.ch web.de
    t-online.de freenet.de arcor.de mail.com email.com mail.ru yandex.ru yandex.com bk.ru list.ru inbox.ru rambler.ru
    orange.fr wanadoo.fr free.fr sfr.fr laposte.net neuf.fr libero.it virgilio.it tiscali.it alice.it tin.it bluewin.ch
    hispeed.ch comcast.net verizon.net att.net sbcglobal.net bellsouth.net cox.net charter.net earthlink.net juno.com
    btinternet.com sky.com talktalk.net virginmedia.com ntlworld.com blueyonder.co.uk shaw.ca rogers.com sympatico.ca
    bigpond.com optusnet.com.au xtra.co.nz qq.com 163.com 126.com sina.com sohu.com foxmail.com naver.com daum.net
    hanmail.net uol.com.br bol.com.br terra.com.br rediffmail.com wp.pl o2.pl onet.pl interia.pl seznam.cz centrum.cz
    abv.bg ukr.net telenet.be skynet.be ziggo.nl kpnmail.nl planet.nl xs4all.nl telia.com online.no googlemail.com
    example.com example.org example.net
""")

# Texts that stand where a value should: compared folded, without blanks.
PLACEHOLDERS: Final = _words("""
    unknown unbekannt inconnu desconocido sconosciuto anonymous anonym none null nil nan undefined notprovided
    notavailable notapplicable notknown notgiven notset missing empty blank noname nonamegiven nolastname nofirstname
    nosurname test tester testing test1 test2 test123 testtest dummy sample example placeholder tbd tba tbc todo xxx xx
    asdf qwerty firstname lastname surname familyname givenname forename vorname nachname fnu lnu nfn nln nmn company
    companyname firma lead newlead newcontact websitevisitor prospect default deleted redacted removed erased withheld
    refused private confidential self selfemployed unemployed retired individual privatperson keine keiner aucun
    ninguno nessuno
""")
# Short ones that are names in some language once folded ("Na", "Nd"): a placeholder only in this spelling.
PLACEHOLDER_SPELLINGS: Final = frozenset({"n/a", "n.a.", "n.a", "n/k", "#n/a", "n.n.", "n. n.", "-", "--", ".", "?"})

# A role in a family or a house instead of a name.
ROLE_NAMES: Final = _words("""
    mother father mom mum dad wife husband spouse partner son daughter stepson stepdaughter grandson granddaughter
    child baby toddler boy girl infant kid minor adult male female brother sister grandma grandpa grandmother
    grandfather oldest youngest hijo hija senor senora roommate housemate friend guest occupant resident householder
    owner renter tenant respondent person lady gentleman customer client user member visitor subscriber
""")

# Before or around a name, no part of it.
TITLES: Final = _words("""
    mr mrs ms miss mx dr prof professor sir madam madame mme mlle monsieur herr frau fr hr dipl ing rev reverend hon
    judge capt captain col sgt sra srta sig dott dottssa dhr mevr drs ir phd md dds esq mba
""")

# Generational suffixes, and the one spelling of each.
GENERATIONS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "jr": "jr",
        "jnr": "jr",
        "junior": "jr",
        "sr": "sr",
        "snr": "sr",
        "senior": "sr",
        "ii": "2",
        "2nd": "2",
        "iii": "3",
        "3rd": "3",
        "iv": "4",
        "4th": "4",
    }
)

# Places that stand in examples and empty forms.
PLACEHOLDER_PLACES: Final = _words("""
    anytown anycity sometown somecity yourtown yourcity nowhere musterstadt musterhausen musterort city town ort stadt
""")

# Words in addresses, each after its short form.  English: USPS Publication 28, appendices B and C1
# (https://pe.usps.com/text/pub28/28apc_002.htm); German, French, Spanish, Italian: the usual short forms.
_STREET_WORDS: Final = """
    aly alley
    av avenue ave aven avn avenida
    blvd boulevard boul blv bd bld bvd
    bldg building
    brg bridge brdge
    cir circle circ crcl
    cl close
    cres crescent cresent
    ct court crt
    ctr center centre
    cv cove
    dr drive drv driv
    est estate
    expy expressway
    ext extension
    fl floor
    gdn garden gardens gdns
    gr grove grv
    hts heights hgts
    hwy highway highwy hiway
    hl hill hills hls
    ln lane
    lp loop
    mnr manor
    mt mount
    mtn mountain
    pde parade
    pk park
    pkwy parkway parkwy pky
    pl place plc platz
    plz plaza
    pt point
    rd road
    rdg ridge
    rm room
    sq square
    st street str saint strt strasse
    ste suite
    ter terrace terr tce
    trl trail tr
    unit apartment apt appt flat wohnung wg
    vlg village villag
    vw view
    way wy
    n north nord
    s south so sud
    e east
    w west
    ne northeast
    nw northwest
    se southeast
    sw southwest
    pob pobox postfach
    r rue
    c calle
"""
STREET_WORDS: Final[Mapping[str, str]] = MappingProxyType(
    {word: line.split()[0] for line in _STREET_WORDS.strip().splitlines() for word in line.split()[1:]}
)
