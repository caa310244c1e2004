"""Words for contrast agents and for operations, as data: both are told by "post" and "nach"."""

from __future__ import annotations

from lumbargrade.dicom.kinds.meanings import Entry, Meaning, words

CONTRAST = (
    Entry(
        Meaning.AGENT,
        "contrast, contraste, contrasto, contrastmiddel, contrastmedium, contrastato, kontrast,"
        " kontrastmittel, km, gd, gad, gado*, gadavist, dotarem, clariscan, magnevist,"
        " multihance, prohance, omniscan, magnegita, vueway, elucirem, dtpa, gd dtpa, mdc, pdc,"
        " injection, inj, injecte*, inyeccion, ce, enhanced, contrastenhanced, contrast enhanced,"
        " c +, + c, iv contrast, medio de contraste, mezzo di contrasto, produit de contraste,"
        " meio de contraste, m km, n km, c contraste, c c, w con, post con, + cm, con cm, mit cm,"
        " nach cm, met cm, na cm, dopo cm, post cm, iv +, + iv, mit k",
        "SAG T1 POST CONTRAST; SAG T1 +C; T1 C+; T1 GD; T1 + gadovist; T1 KM; T1 nach KM;"
        " T1 con contraste; T1 avec injection; T1 mit KM; T1 post gad; T1 CE; T1FS+C",
    ),
    Entry(
        Meaning.WITH,
        "with, w, mit, avec, con, met, com, nach, after, apres, dopo, despues, tras, apos, na",
        "T1 with contrast; T1 na contrast; T1 dopo mdc; T1 após contraste",
    ),
    Entry(
        Meaning.WITHOUT,
        "without, w o, wo, wout, no, non, not, ohne, sans, avant, before, sin, senza, prima,"
        " prima di, zonder, voor, sem, antes, antes de, vor, kein, keine, excluding",
        "T1 w/o contrast; T1 without contrast; T1 ohne KM; T1 sans gadolinium; T1 sin contraste;"
        " T1 zonder contrast; T1 senza mdc; T1 sem contraste; T1 sans injection",
    ),
    Entry(
        Meaning.POST,
        "post, pos, postkontrast*, postcontrast*, postgad*, postgd, postkm, poscontraste",
        "SAG T1 POST; T1 pós contraste; T1 postGd; POST SAG T1 FS",
    ),
    Entry(Meaning.PRE, "pre, prae, pra", "SAG T1 PRE; T1 pre contrast; prä KM T1"),
    Entry(
        Meaning.NATIVE,
        "nativ, native, nativo, natif, nativa, natief, blanco, unenhanced, nonenhanced, non con,"
        " noncon, w o con, wo con, noncontrast, precontrast, s c, s contraste, s km, s gd, o km,"
        " v km, km neg*, gd neg*, blanko, o gd, ohne k, simples",
        "T1 nativ; T1 NON-CON; T1 s/c; T1 unenhanced; T1 natif; T1 o. KM",
    ),
    Entry(Meaning.NONE, "none, nein, aucun, ninguno, nessuno, nenhum, geen, nil, 0", "KM: nein"),
    Entry(Meaning.JOIN, "and, und, et, y, e, en, u, +", "T1 with and without contrast"),
)

#: Between a word such as "without" and the agent.
AGENT_FILLERS = words(
    "iv ev i v de du di del d l la le el the any administration adm admin agent medium dem der den"
    " use of intravenous"
)

#: Where nothing else stands in ContrastBolusAgent, there was no agent.
NO_AGENT = words(
    "none no n a na nil null nein keine keines kein aucun aucune ninguno ninguna nessuno nessuna"
    " nenhum nenhuma geen without ohne sans sin senza sem zonder not given applicable aplica"
    " applicabile used administered non unknown unspecified plain false contrast agent contraste"
    " kontrast kontrastmittel km contrasto mdc medio produit de iv ml mg cc native nativ nativo"
    " natif unenhanced pre w o"
)

SURGERY = (
    Entry(
        Meaning.OPERATED,
        "post op*, postop*, pos op*, posop*, post operat*, post surg*, postsurg*, status post, s"
        " p, z n, zustand nach, st n, nach op*, na operatie, apres chirurgie, postchirurg*, post"
        " chirurg*, post chir, postoperat*, operated, operiert, operado, opere*, operato,"
        " geopereerd, cirurgia previa, failed back, fbss",
        "SAG T2 POST OP; postoperative; Z.n. OP; status post fusion; pós-operatório; s/p lami",
    ),
    Entry(
        Meaning.SURGERY,
        "laminectom*, laminektom*, laminotom*, lami, discectom*, diskektom*, diskectom*,"
        " microdisc*, hemilaminect*, fusion, fused, spondylodes*, arthrodes*, artrodes*, plif,"
        " tlif, alif, xlif, hardware, implant*, instrument*, schrauben, metal*, mars,"
        " semac, mavric, omar, surgery, surgical, operation*, operatie, chirurg*, cirurg*, cirugia,"
        " prothes*, protes*, foraminotom*, kyphoplast*, vertebroplast*",
        "AX T2 POST LAMINECTOMY; T2 MARS; t2_tse_sag_semac; T2 nach Spondylodese; T2 metal"
        " artifact",
    ),
)

CONTRAST_WORDS = (*CONTRAST, *SURGERY)
