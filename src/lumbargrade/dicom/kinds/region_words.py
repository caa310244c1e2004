"""Words for regions of the body, as data.

A region near the lumbar spine is a usual mix-up: it is registered under a neighbour's name, or one
examination covers both. A region far from it is not.
"""

from __future__ import annotations

from lumbargrade.dicom.kinds.meanings import Entry, Meaning

REGION_WORDS = (
    # "spine" and "back" alone say nothing: they are all over the header of any spine
    Entry(
        Meaning.NEUTRAL,
        "spine, spinal, spinal canal, back, vertebra*, wirbelsaule, ws, rachis, columna, colonna,"
        " coluna, wervelkolom, rug, rucken, dos, schiena, column, vertebral*",
        "SPINE; Wirbelsäule; MR rachis",
    ),
    # whole and total spines hold the lumbar spine too
    Entry(
        Meaning.LUMBAR,
        "lumbar*, lumbal*, lumbo*, lumbaire*, lombaire*, lombar*, lombo*, lumb, lspine, lsspine,"
        " l spine, ls spine, l s spine, lsp, l sp, lws, lwk, lws bws, lendenwirbel*, tlspine, t l"
        " spine, tl spine, thoracolumb*, thorakolumb*, toracolomb*, toracolumb*, dorsolumb*,"
        " dorsolomb*, thoraco lumb*, dorso lomb*, ctlspine, ctl spine, c t l spine, c l spine,"
        " whole spine, wholespine, total spine, totalspine, entire spine, full spine, fullspine,"
        " complete spine, pan spine, panspine, ganze wirbelsaule, ganze ws, gesamte wirbelsaule,"
        " gws, rachis entier, rachis complet, colonne entiere, columna completa, columna total,"
        " colonna intera, colonna in toto, coluna total, coluna completa, hele wervelkolom,"
        " totale wervelkolom, neuroaxis, neuraxis, conus, c + l spine, l + c spine, l + t spine,"
        " t + l spine, c + t + l spine",
        "L-SPINE; LWS; LSPINE; MRI LUMBAR SPINE; IRM rachis lombaire; columna lumbosacra;"
        " T-L SPINE; WHOLE SPINE; T2_LWS_sag; Rachide lombare; coluna lombar; LWK; TLSPINE;"
        " lumbo-sacral",
    ),
    # German: Brust-, Sakral- and Halswirbelkörper; Lendenwirbelkörper (LWK) are above
    Entry(Meaning.THORACIC_VERTEBRA, "bwk", "T2 BWK 12"),
    Entry(Meaning.SACRAL_VERTEBRA, "swk", "T2 BWK 12 - SWK 1"),
    # stitched from several stations: the description is that of one of them
    Entry(Meaning.COMPOSED, "composed, composing, comp sp, comp ad, stitched", "t2_sag_COMP_SP_1"),
    # the sacrum and its joints show L5/S1 at most, so they are no examination of the lumbar spine
    Entry(
        Meaning.NEAR_REGION,
        "cervical*, zervikal*, cspine, c spine, + c spine, c + t spine, csp, c sp, hws, hwk,"
        " halswirbel*, cwk, cervix, neck, hals, cuello, nek, pescoco, collo, ctspine, c t spine,"
        " cervicothor*, cervico*, tspine, t spine, tsp, t sp, bws, brustwirbel*, twk, thora*,"
        " torac*, torax, thorak*, dorsal*, chest, brustkorb, lung*, abdomen*, abdominal*, abdome,"
        " addome, abd, bauch, buik, pelvis*, pelvic*, pelvi, becken*, bassin, pelvien, bekken,"
        " bacino, pelve, sacrum*, sacral*, sakrum, sakral*, sacro, sspine, s spine, kreuzbein,"
        " sacroil*, sakroil*, iliosakr*, iliosac*, sij, si joint, si joints, isg, coccyx*,"
        " coccige, steissbein, hip, hips, hufte, huefte, hanche*, cadera*, anca, anche, heup*,"
        " quadril, plexus, lumbosacral plexus, lumbar plexus, sacral plexus, liver, leber, foie,"
        " higado, fegato, figado, kidney*, renal, niere*, adrenal*, nebenniere*, pancreas,"
        " pankreas, enterogra*, bowel, prosta*, uterus, rectum, rektum, rectal, bladder, blase,"
        " aorta, scrotum, female pelvis",
        "C-SPINE; T SPINE; HWS; BWS; CERVICAL SPINE; rachis cervical; columna dorsal; PELVIS;"
        " MR ABDOMEN; PROSTATE; SACRUM; ISG; Hüfte; hanche droite; C/T SPINE",
    ),
    Entry(
        Meaning.FAR_REGION,
        "brain*, head, kopf, schadel*, schaedel*, gehirn, hirn, cerebr*, cerveau, encephal*,"
        " crane, crani*, craneo, cranio*, neurocran*, cervello, encefalo, testa, hoofd, hersenen,"
        " cabeca, cabeza, skull, orbit*, pituitary, hypophys*, ipofisi, hipofis*, sella*, iac,"
        " iacs, iams, temporal bone*, sinus*, face, facial, gesicht, tmj, knee*, knie*, genou*,"
        " rodilla*, ginocchio, joelho*, shoulder*, schulter*, epaule*, hombro*, spalla,"
        " schouder*, ombro*, ankle*, sprunggelenk*, osg, cheville*, tobillo*, caviglia, enkel,"
        " tornozelo*, foot, feet, fuss, vorfuss, pied*, pie, voet, wrist*, handgelenk*, poignet*,"
        " muneca*, polso, pols, punho*, hand, hands, mano, mao, finger*, thumb, toe, toes,"
        " elbow*, ellenbogen, ellbogen, coude*, codo*, gomito, elleboog, cotovelo*, thigh*,"
        " oberschenkel*, cuisse*, muslo, coscia, lower leg, unterschenkel*, calf, wade, humerus,"
        " femur, tibia, fibula, forearm*, unterarm*, oberarm*, upper arm, extremity, lowexm,"
        " upexm, breast*, mamma*, mammo*, mama, seno, heart, cardiac, herz, coeur, cuore,"
        " cardio*, fetal, fetus, foetal, jaw, mandib*, tongue, larynx, parotis, carotid*",
        "KNEE; MR BRAIN; HEAD; t2_kniegelenk_sag; genou gauche; rodilla; IRM cérébrale; Schädel;"
        " SHOULDER LT; WRIST; ANKLE; MR Handgelenk; HEADNECK; spalla dx",
    ),
)

#: Values of BodyPartExamined that often stand on a spine: the scanner's or the order's default.
#: They decline nothing by themselves; in any other tag the same words do.
UNTRUSTED_BODY_PARTS = frozenset(
    ["abdomen", "abd", "addome", "abdome", "bauch", "buik", "abdomen pelvis", "abdomenpelvis"]
)
