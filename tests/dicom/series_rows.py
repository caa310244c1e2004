"""Headers as scanners and technologists write them, with the kind that each series really is.

A row is (plane, SeriesDescription, kind, a part of the reason, other values of `Acquisition`).
Kinds: T1, T2 (T2 or STIR) and "-" (none of the kinds that are graded).
"""

from __future__ import annotations

SE, IR, GR, EP = (frozenset(s.split()) for s in ("SE", "SE IR", "GR", "EP"))
ORIGINAL = ("ORIGINAL", "PRIMARY", "M", "ND", "NORM")
DERIVED = ("DERIVED", "SECONDARY")


def times(te: float, tr: float, ti: float | None = None, sequence: frozenset[str] = SE) -> dict:
    return {
        "echo_time": te, "repetition_time": tr, "inversion_time": ti, "sequence": sequence,
    }  # fmt: skip


T1_TIMES, T2_TIMES, STIR_TIMES = times(10, 550), times(100, 3500), times(40, 4500, 160, IR)
DENSITY = times(20, 3000)

Row = tuple[str, str, str, str, dict]


def vendors() -> list[Row]:
    """Ordinary series as Siemens, GE, Philips and Canon name them."""
    t1 = {
        "Siemens": ["t1_tse_sag", "t1_tse_sag_p2", "T1_TSE_SAG_320", "sag t1 tse", "t1_tse_sag_lws",
                    "t1_se_sag", "T1 SAG LWS", "tse_t1_sag", "t1_qtse_sag", "SAG T1 BLADE"],
        "GE": ["Sag T1", "SAG T1 FSE", "OSag T1 FLAIR", "Sag T1 FLAIR", "T1FLAIR SAG",
               "SAG T1 FRFSE",
               "Sag T1 PROPELLER", "SAGT1"],
        "Philips": ["T1W_TSE", "T1W_TSE_SAG", "sT1W_TSE SENSE", "SAG T1W TSE", "dT1W_TSE",
                    "T1W/TSE SAG"],
        "Canon": ["FSE2D_T1 SAG", "T1W SAG FSE", "SAG T1WI", "Sag FSE T1"],
        "words": ["SAG T1 T12-S1", "T1 SAG", "T1-SAG", "SAG_T1_L1-S1", "T1 sagittal Th12-S1",
                  "T1 SAG L-SPINE", "SAG T1 PRE", "SAG T1 W/O", "T1 sag w/o FS", "SagT1", "T1",
                  "T1 sagittale", "T1 sag nativ", "sagitale T1 ohne KM", "T1 SAG SIN CONTRASTE",
                  "DIXON T1 in phase", "T1w", "SAG T1 NO FAT SAT"],
    }  # fmt: skip
    t2 = {
        "Siemens": ["t2_tse_sag", "t2_tse_sag_320", "t2_tse_sag_p2", "SagT2TSE", "tse_t2_sag_p2",
                    "t2_tirm_sag", "t2_tse_sag_fs", "T2_TSE_DIXON_SAG_W", "t2_tse_dixon_sag_in",
                    "t2_blade_sag", "t2_spc_sag_iso", "t2_stir_sag", "T2 tirm sag p2"],
        "GE": ["Sag T2", "SAG T2 FRFSE", "OSag T2 FRFSE", "SAG T2 FSE-XL", "Sag STIR",
               "SAG STIR FSE",
               "WATER: Sag T2 IDEAL", "InPhase: Sag T2 Flex", "SAG CUBE T2", "Sag T2 FS FRFSE",
               "SAG T2 PROPELLER", "FSE-IR STIR", "SAGT2"],
        "Philips": ["T2W_TSE", "eT2W_TSE_SAG", "sT2W_TSE SENSE", "STIR_longTE SENSE", "T2W_SPAIR",
                    "T2W_mDIXON_W", "T2_TSE_SAG HR", "T2W_VISTA", "STIR_TSE SAG"],
        "Canon": ["FSE2D_T2 SAG", "FastSTIR", "T2W SAG FSE", "SAG T2WI", "Sag FSE T2 FatSat"],
        "words": ["SAG T2 T11-S2", "AX T2 T12-S1", "t2 sag Th11-S3", "T2-SAG", "t2_sag_L1-S1",
                  "SAG T2 POST OP", "AX T2 POST LAMINECTOMY", "T2 status post fusion",
                  "T2 sag Z.n. OP", "SAG T2 POST L4-5 LAMI", "T2 SAG W/O CONTRAST", "T2 nativ",
                  "T2 sagittal ohne KM", "T2 sag sans injection", "T2 zonder contrast", "STIR SAG",
                  "T2 senza mdc", "T2 SEM CONTRASTE", "T2 SIN CONTRASTE", "T2 sans gadolinium",
                  "T2 NON CONTRAST", "T2 PRE-CONTRAST", "STIR T2", "T2 STIR SAG", "T2",
                  "T2 POSTERIOR", "T2 sag mit Sättigung", "T2 LUMBAIRE SAGITTAL", "tirm sag",
                  "T2 SAG FLEXION", "T2 L5S1", "T2L5S1", "T2 L4/5", "sagT2 lws", "LWS T2 sag",
                  "L+C SPINE T2", "T2 BWK 12 - SWK 1", "T2AXL3S1",
                  "T2 myelopathy", "T2 fett gesättigt", "T2 KM-", "T2 v. KM", "T2 KM neg",
                  "T2 FAT SAT", "T2 SAT GRASA", "T2 rachis lombaire", "T2 columna lumbosacra",
                  "T2 T-L SPINE", "WHOLE SPINE T2", "T2 HEAD FIRST", "T2 PRE SAT", "T2 MARS",
                  "PLAN AXIAL T2", "T2 post trauma", "postoperative T2", "T2 pós-operatório"],
    }  # fmt: skip
    rows: list[Row] = [("sagittal", d, "T1", d, {}) for ds in t1.values() for d in ds]
    rows += [("sagittal", d, "T2", d, {}) for ds in t2.values() for d in ds]
    axial = [
        "t2_tse_tra", "AX T2", "T2W_TSE_AX", "OAx T2 FRFSE", "FSE2D_T2 AX", "t2_tse_tra_384",
        "T2 AXIAL L3-S1", "AxT2", "TRA T2 TSE", "T2 axiale", "T2 TRANSVERSAL", "AX T2 FS",
        "T2 ax blok", "t2_tra_msma", "AX T2 ANGLED DISCS",
    ]  # fmt: skip
    return rows + [("axial", d, "T2", d, {}) for d in axial]


def excluded() -> list[Row]:
    """What is no plain T1 or T2, by its description alone."""
    reasons = {
        "after contrast": [
            "SAG T1 POST CONTRAST", "SAG T1 +C", "T1 C+", "T1C+ SAG", "SAG T1 GD", "T1 gadovist",
            "t1_tse_sag_KM", "T1 nach KM", "T1 con contraste", "T1 avec injection", "T1 mit KM",
            "T1 post gad", "SAG T1 POST", "T1 SAG FS POST", "POST SAG T1", "T1+C FS", "T1 + GD",
            "T1 sag dopo mdc", "T1 na contrast", "T1 met contrast", "T1 com contraste",
            "T1W_TSE_Gd",
            "T1 pós contraste", "T1 post-Gd", "t1_tse_fs_sag_post", "T1 CE", "SAG T1 W CONTRAST",
            "T1 après gadolinium", "T1 inj", "T1 SAG WITH IV CONTRAST", "T1 postKM", "T1 Dotarem",
            "T1 POST GAD POST OP", "SAG T2 POST CONTRAST", "T1 enhanced",
            "T1 +CM", "T1 dopo cm", "T1 iv+",
        ],
        "localizer": [
            "LOCALIZER", "3 PLANE LOC", "3-Plane Localizer", "3-pl T2* FGRE", "Survey", "SCOUT",
            "haste_loc", "T2 HASTE LOC", "localizador", "Repérage", "Lokalizer", "PLAN SCAN",
            "SCOUT T2 SAG", "loc_t2_sag", "Localisateur", "topogram", "Übersicht", "AAHScout_LOC",
            "SURVEY_SAG T2", "3pl loc", "plan", "localizzatore", "Localizer T2 sag", "T2_LOC_SAG",
        ],
        "document": ["REPORT", "Screen Save", "PhoenixZIPReport", "Screenshots T2", "Key Images"],
        "computed": [
            "SUB T1", "subtraction T1 SAG", "MIP", "t2_spc_sag MPR tra", "MPR T2 AX",
            "Reformatted T2", "T2 Map", "Soustraction", "RFMT AX T2",
        ],
        "diffusion": [
            "ep2d_diff_sag", "DWI SAG", "ADC", "ADC (10^-6 mm²/s)", "Difusión sag",
            "Diffusion T2 b800", "resolve_sag_TRACEW", "DWI_b0 T2",
        ],
        "angiography": ["MRA", "TOF 3D", "Angio", "TWIST dynamic"],
        "myelogram": [
            "MR MYELO", "t2_haste_myelo", "MYELOGRAPHY", "Myelogramm", "mielografia RM",
            "SSFSE SAG T2", "T2 HASTE SAG", "T2 myélo", "T2_haste_myelo_cor", "myelografie",
        ],
        "steady-state": ["t2_ciss3d_tra", "FIESTA-C AX", "B-FFE SAG", "3D COSMIC T2", "trufi"],
        "gradient echo": [
            "T2* SAG", "t2_me2d_tra_p2", "AX MERGE", "T2_FFE", "Ax T2* GRE", "t2_medic_sag",
            "T2 STAR", "T2*W_FFE", "GRE T2 SAG", "SAG T2 GRE",
        ],
        "FLAIR": ["T2 FLAIR SAG", "FLAIR", "t2_spc_dark-fluid_sag", "T2W_FLAIR"],
        "proton density": [
            "PD TSE SAG", "pd_tse_fs_sag", "Proton Density SAG", "DP SAG", "PDW_SPAIR", "PDW TSE",
            "Densité de protons sag", "SAG PD FS", "PD SAG", "densità protonica sag",
        ],
        "fat": [
            "T1 FS SAG", "T1W_SPAIR", "T1 FAT SAT", "t1_tse_dixon_sag_W", "t1_tse_dixon_sag_F",
            "T2_TSE_DIXON_SAG_F", "FAT: Sag T2 IDEAL", "T1 WATER Dixon", "T1FS", "t1_tse_fs_sag",
        ],
        "opposed-phase": ["t2_tse_dixon_sag_opp", "OutPhase: Sag T2 Flex", "T1 out of phase"],
        "another region": [
            "SAG T2 C-SPINE", "T2 KNEE SAG", "T2 SAG CERVICAL", "t2_tse_sag_HWS", "T2 BRAIN",
            "SAG T2 T-SPINE", "T2 BWS sag", "T1 T1-T12", "SAG T2 C2-T2", "T2 C1-C7 sag",
            "T2 SACRUM",
            "T2 rachis cervical", "T2 columna dorsal", "T2 genou", "t2_kniegelenk_sag", "T2 HIP",
            "PD SAG KNEE", "T2 SAG PELVIS", "T2 ABDOMEN", "T1 Schulter", "IRM cérébrale T2",
            "T2 cervicale wervelkolom", "T2 coluna torácica", "T2 prostate", "T2 ISG", "T2 T3-T12",
            "SAG T2 C+T SPINE", "T2 rodilla", "T2 ginocchio", "T2 polso", "T2 thorakal",
            "T2 HWK 1-7",
        ],
        "unknown weighting": [
            "", "SAG", "tra", "part1", "POST OP", "pos1", "set1", "fast2", "series 5", "left1",
            "T12-S1", "L5-S1 AX", "SAG TSE", "TIR", "LWS sag", "recon 2",
        ],
        "T1 and T2": ["SAG T1 T2", "T1/T2 SAG", "T1-T2 sag", "T1 STIR"],
    }  # fmt: skip
    names = {"T1 and T2": "names"}
    return [
        ("sagittal", d, "-", names.get(reason, reason), {})
        for reason, ds in reasons.items()
        for d in ds
    ]


PROTOCOLS: list[Row] = [
    # ProtocolName decides only where SeriesDescription names nothing
    ("sagittal", "LWS sag", "T2", "ProtocolName", {"protocol": "t2_tse_sag"}),
    ("sagittal", "", "T1", "ProtocolName", {"protocol": "T1W_TSE"}),
    ("sagittal", "", "T2", "ProtocolName", {"protocol": "T2 STIR SAG"}),
    ("sagittal", "", "T1", "ProtocolName", {"protocol": "Sag FLAIR/T1"}),
    ("sagittal", "SAG T2", "T2", "SeriesDescription", {"protocol": "t1_tse_sag"}),
    ("sagittal", "SAG T1", "T1", "SeriesDescription", {"protocol": "LSPINE T1 T2 STIR"}),
    ("sagittal", "SAG", "-", "unknown", {"protocol": "LSPINE T1 T2 STIR"}),
    ("sagittal", "SAG", "T2", "echo time", {"protocol": "LSPINE T1 T2 STIR", **T2_TIMES}),
    ("sagittal", "SAG", "T1", "echo time", {"protocol": "T1 T2 PD", **T1_TIMES}),
    ("sagittal", "SAG T2", "T2", "SAG T2", {"protocol": "SPINE LOC T1 T2 MYELO"}),
    ("sagittal", "", "-", "localizer", {"protocol": "localizer"}),
    ("sagittal", "SAG T2", "T2", "SAG T2", {"protocol": "MRI L-SPINE W/O CONTRAST"}),
    ("sagittal", "SAG T1", "T1", "SAG T1", {"protocol": "LSPINE W/WO CONTRAST"}),
    ("sagittal", "SAG T1", "T1", "SAG T1", {"protocol": "LWS mit und ohne KM"}),
    ("sagittal", "SAG T1", "T1", "SAG T1", {"protocol": "rachis sans et avec injection"}),
    ("sagittal", "SAG T1", "T1", "SAG T1", {"protocol": "L SPINE WITH AND WITHOUT CONTRAST"}),
    ("sagittal", "SAG T1", "T1", "SAG T1", {"protocol": "PRE AND POST CONTRAST"}),
    ("sagittal", "SAG T1 PRE", "T1", "SAG T1", {"protocol": "L SPINE WITH CONTRAST"}),
    ("sagittal", "SAG T1", "-", "after contrast", {"protocol": "t1_tse_sag_km"}),
    ("sagittal", "SAG T2", "T2", "SAG T2", {"protocol": "L SPINE WITH CONTRAST"}),
]

AGENTS: list[Row] = [
    ("sagittal", "SAG T1", "T1", "SAG T1", {"agent": no})
    for no in (
        *("NONE", "None", "NO", "N/A", "NA", "0", "0.0", "0 ml", "NO CONTRAST", "Without", "nil"),
        *("ohne", "ohne KM", "kein KM", "keine", "sans", "aucun", "sin contraste", "ninguno", "-"),
        *("geen", "zonder contrast", "nessuno", "senza mdc", "sem contraste", "nenhum", "NATIV"),
        *("Not given", "not applicable", "No aplica", "unknown", "w/o contrast", "NON", "non"),
    )
] + [
    ("sagittal", "SAG T1", "-", "ContrastBolusAgent", {"agent": yes})
    for yes in (
        *("Gadovist", "GADAVIST 7.5 ML", "DOTAREM", "gd", "KM", "contrast", "YES", "Gd-DTPA 15 ml"),
        *("15 ml", "MULTIHANCE", "avec", "Magnograf", "unreadable"),
    )
] + [
    # the agent's tag may stand in every series of an examination
    ("sagittal", description, "T1", description, {"agent": "GADOVIST"})
    for description in ("SAG T1 PRE", "T1 nativ", "T1 ohne KM", "SAG T1 W/O", "T1 sans injection")
]  # fmt: skip

PHYSICS: list[Row] = [
    # contradictions: the times decide, or the series is left out
    ("sagittal", "T2 TSE SAG", "T1", "echo time 10 ms", T1_TIMES),
    ("sagittal", "T1 TSE SAG", "T2", "echo time 100 ms", T2_TIMES),
    ("sagittal", "STIR SAG", "T1", "echo time 10 ms", T1_TIMES),
    ("sagittal", "PD SAG", "T2", "echo time 100 ms", T2_TIMES),
    ("sagittal", "T1 SAG", "T2", "inversion time 160 ms", STIR_TIMES),
    ("axial", "AX T2", "-", "axial T1", T1_TIMES),
    ("axial", "AX T1", "T2", "echo time 100 ms", T2_TIMES),
    ("sagittal", "T2 TSE SAG", "-", "proton density", DENSITY),
    ("sagittal", "T1 TSE SAG", "-", "proton density", DENSITY),
    ("sagittal", "T2 SAG", "-", "gradient echo", times(20, 600, None, GR)),
    ("axial", "T2 tra", "-", "gradient echo", times(14, 800, None, GR)),
    ("sagittal", "T2 SAG", "-", "echo planar", times(80, 3000, None, EP)),
    ("sagittal", "T2 SAG", "-", "FLAIR", times(110, 8000, 2200, IR)),
    ("sagittal", "T2 SAG", "-", "myelogram", times(900, 6000)),
    ("sagittal", "T2 PD TSE", "T2", "echo time 100", T2_TIMES),
    ("sagittal", "T2 PD TSE", "-", "proton density", DENSITY),
    ("sagittal", "SAG T1 T2", "T1", "echo time 10", T1_TIMES),
    # usual times: the description is the reason
    ("sagittal", "T2 TSE SAG", "T2", "SeriesDescription", T2_TIMES),
    ("sagittal", "T1 TSE SAG", "T1", "SeriesDescription", T1_TIMES),
    ("sagittal", "STIR", "T2", "SeriesDescription", STIR_TIMES),
    ("sagittal", "STIR", "T2", "SeriesDescription", times(40, 4500)),
    ("sagittal", "STIR", "T2", "SeriesDescription", times(60, 5000, 220, IR)),
    ("sagittal", "T2 STIR", "T2", "SeriesDescription", times(30, 3000, 110, IR)),
    ("sagittal", "T1 FLAIR", "T1", "SeriesDescription", times(12, 2200, 860, IR)),
    ("sagittal", "T1 FLAIR", "T1", "SeriesDescription", times(24, 2600)),
    ("sagittal", "T1", "T1", "SeriesDescription", times(22, 2200, 850, frozenset({"IR"}))),
    ("sagittal", "T1 FFE", "T1", "SeriesDescription", times(4, 200, None, GR)),
    ("sagittal", "T2 3D SPACE", "T2", "SeriesDescription", times(200, 1500)),
    ("sagittal", "T2 FS", "T2", "SeriesDescription", times(55, 3500)),
    ("sagittal", "T2 SPAIR", "T2", "SeriesDescription", times(90, 3000, 110)),
    ("sagittal", "T2", "T2", "SeriesDescription", times(0, 0, 0)),
    ("sagittal", "T2", "T2", "SeriesDescription", {"sequence": SE}),
    ("sagittal", "T2", "T2", "SeriesDescription", times(100, 4000, None, frozenset({"SE", "GR"}))),
    ("sagittal", "T1", "T1", "SeriesDescription", times(15, 1500)),
    ("sagittal", "T1", "T1", "SeriesDescription", {"echo_time": 12.0}),
    # no words: times alone
    ("sagittal", "", "T1", "echo time 10 ms", T1_TIMES),
    ("sagittal", "", "T2", "echo time 100 ms", T2_TIMES),
    ("axial", "", "T2", "echo time 100 ms", T2_TIMES),
    ("sagittal", "", "T2", "inversion time 160 ms", STIR_TIMES),
    ("sagittal", "", "-", "proton density", DENSITY),
    ("sagittal", "", "-", "unknown", times(50, 3000)),
    ("sagittal", "", "-", "unknown", times(15, 1500)),
    ("sagittal", "", "-", "gradient echo", times(10, 500, None, GR)),
    ("sagittal", "", "-", "FLAIR", times(110, 8000, 2200, IR)),
    ("sagittal", "FLAIR SAG", "T1", "inversion time 860", times(12, 2200, 860, IR)),
]

IMAGE_TYPES: list[Row] = [
    ("sagittal", "T2 TSE SAG", kind, reason, {"image_type": value})
    for kind, reason, value in (
        ("T2", "T2 TSE SAG", ORIGINAL),
        ("T2", "T2 TSE SAG", DERIVED),
        ("T2", "T2 TSE SAG", ("DERIVED", "PRIMARY", "M", "NORM", "DIS2D", "COMPOSED")),
        ("T2", "T2 TSE SAG", ("ORIGINAL", "PRIMARY", "M_SE", "M", "SE")),
        ("T2", "T2 TSE SAG", ("DERIVED", "SECONDARY", "OTHER")),
        ("T2", "T2 TSE SAG", ("ORIGINAL", "PRIMARY", "W", "W", "SE")),
        ("T2", "T2 TSE SAG", ("DERIVED", "PRIMARY", "DIXON", "IN_PHASE")),
        ("T2", "T2 TSE SAG", ("ORIGINAL", "PRIMARY", "T2", "NONE")),
        ("-", "fat images", ("DERIVED", "PRIMARY", "DIXON", "FAT")),
        ("-", "opposed", ("DERIVED", "PRIMARY", "M", "OPP_PHASE")),
        ("-", "computed", (*DERIVED, "SUBTRACTION")),
        ("-", "computed", (*DERIVED, "M", "SUB", "NORM")),
        ("-", "computed", (*DERIVED, "MPR", "CSA MPR", "", "CSAPARALLEL")),
        ("-", "computed", (*DERIVED, "REFORMATTED", "AVERAGE")),
        ("-", "computed", (*DERIVED, "MIP")),
        ("-", "computed", ("ORIGINAL", "PRIMARY", "PROJECTION IMAGE", "M", "SE")),
        ("-", "computed", (*DERIVED, "T2 MAP", "T2", "UNSPECIFIED")),
        ("-", "computed", ("ORIGINAL", "PRIMARY", "P", "ND")),
        ("-", "diffusion", ("DERIVED ", "PRIMARY", "DIFFUSION", "ADC", "ND")),
        ("-", "localizer", ("ORIGINAL", "PRIMARY", "LOCALIZER")),
        ("-", "document", (*DERIVED, "SCREEN SAVE")),
        ("-", "ImageType", (*DERIVED, "projection image ")),
    )
]


def _study(text: str) -> dict:
    return {"order": (("StudyDescription", text),)}


REGIONS: list[Row] = [
    ("sagittal", "SAG T2", kind, reason, values)
    for kind, reason, values in (
        ("T2", "SAG T2", {"body_part": "LSPINE"}),
        ("T2", "SAG T2", {"body_part": "SPINE"}),
        ("T2", "SAG T2", {"body_part": "BACK"}),
        ("T2", "SAG T2", {"body_part": "ABDOMEN"}),
        ("T2", "SAG T2", {"body_part": "TLSPINE"}),
        ("T2", "SAG T2", {"body_part": "LSSPINE"}),
        ("T2", "SAG T2", {"body_part": "LWS"}),
        ("T2", "SAG T2", {"body_part": "Lumbar spine structure"}),
        ("-", "BodyPartExamined 'KNEE'", {"body_part": "KNEE"}),
        ("-", "BodyPartExamined 'BRAIN'", {"body_part": "BRAIN"}),
        ("-", "BodyPartExamined 'HEAD'", {"body_part": "HEAD"}),
        ("-", "BodyPartExamined 'CSPINE'", {"body_part": "CSPINE"}),
        ("-", "BodyPartExamined 'TSPINE'", {"body_part": "TSPINE"}),
        ("-", "BodyPartExamined 'HEADNECK'", {"body_part": "HEADNECK"}),
        ("-", "BodyPartExamined 'PELVIS'", {"body_part": "PELVIS"}),
        ("-", "StudyDescription 'MR KNEE LEFT'", _study("MR KNEE LEFT")),
        ("-", "StudyDescription", _study("MRI BRAIN W/O CONTRAST")),
        ("-", "StudyDescription", _study("MR HWS nativ")),
        ("-", "StudyDescription", _study("IRM genou droit")),
        ("-", "StudyDescription", _study("RM rodilla izquierda")),
        ("-", "StudyDescription", _study("MRT Kniegelenk li.")),
        ("-", "StudyDescription", _study("MR ABDOMEN")),
        ("-", "StudyDescription", _study("RM colonna cervicale")),
        ("-", "StudyDescription", _study("RM COLUNA CERVICAL")),
        ("-", "StudyDescription", _study("MRI knie rechts")),
        ("T2", "SAG T2", _study("MRI LUMBAR SPINE")),
        ("T2", "SAG T2", _study("MR CERVICAL/THORACIC/LUMBAR SPINE")),
        ("T2", "SAG T2", _study("IRM rachis lombaire")),
        ("T2", "SAG T2", _study("MRT LWS und Becken")),
        ("T2", "SAG T2", _study("MR SPINE")),
        # tags against each other
        ("T2", "SAG T2", {"body_part": "HEAD", "protocol": "LWS", **_study("MRT LWS")}),
        ("T2", "SAG T2", {"body_part": "CSPINE", **_study("MRI LUMBAR SPINE")}),
        ("T2", "SAG T2", {"body_part": "PELVIS", "protocol": "L-SPINE"}),
        ("-", "StudyDescription", {"body_part": "KNEE", "protocol": "LWS", **_study("MR KNEE")}),
        ("-", "BodyPartExamined 'KNEE'", {"body_part": "KNEE", "protocol": "LWS sag"}),
        ("-", "ProtocolName", {"body_part": "HEAD", "protocol": "t2_head"}),
    )
] + [
    ("sagittal", "SAG T2 L-SPINE", "T2", "L-SPINE", {"body_part": "KNEE", **_study("MR KNEE")}),
    ("sagittal", "SAG T2 C-SPINE", "-", "C-SPINE", {"body_part": "LSPINE", **_study("L-SPINE")}),
    ("sagittal", "t2_sag_C1-C8_COMP_SP", "T2", "t2_sag", {"protocol": "t2_tse_sag_384_L2-S1"}),
]

OTHERS: list[Row] = [
    ("coronal", "COR T2", "-", "coronal", {}),
    ("sagittal", "T2", "-", "modality CT", {"modality": "CT"}),
    ("axial", "AX T1", "-", "axial T1", {}),
]

ROWS: list[Row] = [
    *vendors(), *excluded(), *PROTOCOLS, *AGENTS, *PHYSICS, *IMAGE_TYPES, *REGIONS, *OTHERS,
]  # fmt: skip
