"""Words that scanners and technologists use in the description of a series, as data.

Sources: usual protocol names of Siemens, GE, Philips and Canon scanners, in English, German,
French, Spanish, Dutch, Italian and Portuguese. Longer phrases go before shorter ones, so that
"fat sat" is not "fat", and "T1 FLAIR" is not "FLAIR".
"""

from __future__ import annotations

from lumbargrade.dicom.kinds.meanings import Entry, Meaning

WEIGHTINGS = (
    Entry(
        Meaning.T1,
        "t1, t1w, t1wi, t1 flair, flair t1, t1flair, t1se, t1 weighted, t1 gewichtet, t1 pondere",
        "T1 TSE SAG; t1_tse_sag_p2; T1W_TSE; Sag T1 FLAIR; SagT1; SAG T1 T12-S1; T1-SAG",
    ),
    Entry(
        Meaning.T2,
        "t2, t2w, t2wi, t2se, t2 weighted, t2 gewichtet, t2 pondere",
        "t2_tse_sag_320; SagT2TSE; T2W_TSE; eT2W_TSE_SAG; tse_t2_sag_p2; AX T2 T12-S1; FSE2D_T2;"
        " OSag T2 FRFSE; 3DT2 SPACE",
    ),
    Entry(
        Meaning.STIR,
        "stir, tirm, stirw, mstir, t2 stir, stir t2, t2 tirm, tirm t2, short tau",
        "SAG STIR; t2_tirm_sag; STIR_longTE SENSE; fastSTIR sag; STIRsag",
    ),
    Entry(
        Meaning.PROTON_DENSITY,
        "pd, pdw, pdwi, dp, proton density, proton dens, protonendichte, protonendichten*, rho,"
        " densite de protons, densite protonique, densidad protonica, densidad de protones,"
        " densita protonica, densidade de protons, densidade protonica, protondichtheid",
        "PD TSE SAG; pd_tse_sag; Proton Density SAG; DP SAG; Densité de protons sag; PDW_SPAIR",
    ),
    Entry(
        Meaning.FLAIR,
        "flair, t2 flair, flair t2, t2flair, dark fluid",
        "T2 FLAIR SAG; FLAIR; t2_spc_dark-fluid_sag",
    ),
)

#: A series that these describe is neither T1 nor T2, whatever else its description names, but for
#: a gradient echo called T1 and a FLAIR called T1, which show what any T1 shows.
OTHER_IMAGES = (
    # a T2* shows discs and bone otherwise than a spin echo, which is all that was trained on
    Entry(
        Meaning.GRADIENT_ECHO,
        "t2 star, t2star, gre, ffe, t2 ffe, t2ffe, medic, me2d, me3d, merge, mfgre, t2 gre, swi,"
        " swan, flash, fl2d, fl3d, hemo, t2 medic, t2 me2d, t2 merge, adage, echo de gradient,"
        " eco de gradiente, eco gradiente, gradient echo, gradientenecho",
        "AX T2*; t2_me2d_tra_p2; AX MERGE; T2_FFE; Ax 2D MERGE; t2_medic_tra; T2 STAR AX",
    ),
    # contrast is T2 over T1
    Entry(
        Meaning.STEADY_STATE,
        "trufi, truefisp, trufisp, true fisp, fisp, fiesta, fiesta c, bffe, b ffe, btfe, b tfe,"
        " ciss, dess, cosmic, ssfp, bssfp",
        "t2_ciss3d_tra; FIESTA-C AX; B-FFE SAG; 3D COSMIC; trufi sag",
    ),
    # one thick slab of water alone, or one shot per slice: no series of slices for grading
    Entry(
        Meaning.SINGLE_SHOT,
        "myelo, myelogra*, mielo, mielogra*, haste, ssfse, ss fse, ssh tse, sshtse, ss tse,"
        " sstse, fase, fase2d, fase3d, single shot, hydro*, urogra*, uro, mrcp",
        "MR MYELO; t2_haste_myelo; MYELOGRAPHY; myelogramm; mielografia RM; SSFSE SAG; T2 HASTE",
    ),
    Entry(
        Meaning.DIFFUSION,
        "dwi, dw, dti, diff, diffusion, difusion, diffusione, difusao, diffusie, adc, dadc, eadc,"
        " trace, tracew, ep2d, epi, resolve, ivim, b50, b400, b500, b600, b800, b1000, dwibs",
        "ep2d_diff_sag; DWI b800; ADC (10^-6 mm²/s); resolve_sag_TRACEW; dDWI SAG",
    ),
    Entry(
        Meaning.ANGIOGRAPHY,
        "mra, tof, mrv, angio*, cemra, tricks, twist, phase contrast, perfusion, perf, dce, pbv",
        "MRA ABD AORTA; TOF 3D; Angio KM; DCE perfusion",
    ),
    Entry(
        Meaning.LOCALIZER,
        "loc, localiz*, localis*, lokali*, lok, scout*, survey*, surview, topogram*, topo,"
        " scanogram*, 3 plane*, 3 plan, 3plane*, 3plan, 3 pl, 3pl, three plane, tri plane,"
        " triplan*, triplane*, plan, plan scan*, planscan*, planning, planung*, pilot, piloot,"
        " pilote, piloto, reperage*, reperes, centrage, centraje, centratura, ubersicht*,"
        " uebersicht*, overzicht, aahead, aascout, aaspine, autoalign, auto align, calibration*,"
        " calibracion, calib, cal, asset, asset cal*, refscan*, ref scan, coil survey, senseref,"
        " shim, b0 map, b1 map, fieldmap*, field map*, smartbrain, smartspine, smartexam, haste"
        " loc*, loc haste, 3d loc, haste plan",
        "LOCALIZER; 3 PLANE LOC; 3-pl T2* FGRE; Survey SAG; haste_loc; localizador; Repérage;"
        " Lokalizer; PLAN SCAN; SCOUT T2; Localisateur; topogram; Übersicht",
    ),
    Entry(
        Meaning.DOCUMENT,
        "screenshot*, screen save*, screensave*, screen capture, screencapture, report*, befund*,"
        " bericht*, informe, rapport, referto, relatorio, verslag, phoenix*, exam protocol,"
        " patient protocol, key image*, presentation state*, secondary capture, dose,"
        " summary, collage, film*, evidence*, structured report, posdisp*",
        "REPORT; Screen Save; PhoenixZIPReport; Key Images; Dose Report; Screenshots",
    ),
    # a difference, a projection, a cut through another series, a map: computed, not acquired
    Entry(
        Meaning.COMPUTED,
        "subtraction*, subtracted, subtraktion*, sub, subs, subtr, soustraction*, substraccion*,"
        " sustraccion*, resta, sottrazione, aftrekking, subtracao, mip, minip, min ip, thin mip,"
        " mip range, mpr, mprs, reformat*, rfmt, reconst*, rekonstruktion*, vrt, vr, 3d vr,"
        " volume rendering, projection*, radial, curved, cpr, t2 map*, t1 map*, t2map*, t1map*,"
        " mapit, t2 mapping, parametric map",
        "SUB T1 POST-PRE; MIP; t2_spc_sag MPR tra; Reformatted; T2 Map; SUBTRACTION SAG; RFMT AX"
        " T2",
    ),
)

FAT = (
    Entry(
        Meaning.FAT_SUPPRESSED,
        "fs, fatsat, fat sat, fatsup*, fat sup*, fat suppress*, fat saturat*, spair, spir,"
        " spectral fat*, chess, aspir, fsat, fatsaturated, fettsat*, fett sat*, fett gesat*,"
        " fettgesattigt, fettsup*, fettunterdruckt, fettunterdruckung, sat grasa, saturacion"
        " grasa, supresion grasa, supresion de grasa, saturation graisse, sat graisse,"
        " suppression graisse, grassosat, soppressione grasso, soppressione del grasso, sat"
        " gordura, saturacao gordura, supressao de gordura, vetsuppressie, vet sat, proset, water"
        " excitation, we",
        "T1 FS SAG; T2 FAT SAT; t1_tse_fs_sag; T2W_SPAIR; fettgesättigt; T1FatSat; T2 FATSAT SAG",
    ),
    Entry(
        Meaning.DIXON,
        "dixon, mdixon, dixonxd, ideal, flex, tse dixon, lava flex",
        "t2_tse_dixon_sag_W; T2W_mDIXON_TSE; Sag T2 IDEAL; T2 FSE Flex",
    ),
    Entry(
        Meaning.WATER,
        "water, water only, wasser, eau, agua, acqua",
        "WATER: Sag T2 IDEAL; T2 Dixon water",
    ),
    Entry(
        Meaning.FAT,
        "fat, fat only, fett, graisse, grasa, grasso, gordura",
        "FAT: Sag T2 FSE Flex; T1 Dixon FAT",
    ),
    Entry(Meaning.IN_PHASE, "in phase, inphase, in fase", "InPhase: T2 Flex; T2 dixon in-phase"),
    Entry(
        Meaning.OPPOSED_PHASE,
        "opp phase, opposed phase, opposed, out of phase, outphase, out phase, oop, gegenphase,"
        " opposition de phase, fuera de fase, fuori fase",
        "OutPhase: T1; T1 out of phase; t1_dixon_opp_phase",
    ),
)

#: Of a Dixon series, single letters and short words name the part; elsewhere they say nothing.
DIXON_PARTS = {
    "w": Meaning.WATER,
    "f": Meaning.FAT,
    "in": Meaning.IN_PHASE,
    "ip": Meaning.IN_PHASE,
    "opp": Meaning.OPPOSED_PHASE,
    "op": Meaning.OPPOSED_PHASE,
    "out": Meaning.OPPOSED_PHASE,
}

#: Planes, sequences, options and machine words: known so that glued text can be taken apart
#: ("SagT2TSE"), and phrases in which a word does not have its usual meaning.
NEUTRAL = (
    Entry(
        Meaning.NEUTRAL,
        "sag, sagi, sagit, sagitt, sagittal*, sagital*, ax, axi, axial*, tra, trv, trans,"
        " transv*, transax, assial*, trasv*, cor, coro, coron*, frontal*, obl, oblique, para,"
        " tse, fse, frfse, fsexl, xl, se, tfe, blade, propeller, jet, space, spc, cube, vista,"
        " view, mvxd, mv, multivane, drive, restore, rst, 2d, 3d, hr, hires, fast, turbo, spin"
        " echo, mr, mrt, mri, irm, rm, rmn, nmr, ir, tir, fseir, lang, iso, sense, cs, grappa,"
        " dl, deep, air, recon, swiftmr, vibe, thrive, lava, nex, fov, block, stack, angled,"
        " disc, discs, disk, level, levels, haut, bas, dis2d, norm, filt, fil, nd, dynamic*,"
        " flexion, extension, pre sat, presat, post sat, post proc*, postproc*, post trauma*,"
        " posttrauma*, post mva, post partum, post infiltr*, pos 1, pos 2, pos 3, pos 4, post"
        " void, post fall, post process*, multi contrast, multicontrast, plan ax*, plan sag*,"
        " plan cor*, high contrast, image contrast, contrast opt*, prescan, pre scan, head first,"
        " feet first, head coil, body coil, spine coil, neck coil, head neck coil, phased array",
        "SAG TSE; post proc; PLAN AXIAL T2; head first",
    ),
)

SERIES_WORDS = (*WEIGHTINGS, *OTHER_IMAGES, *FAT, *NEUTRAL)

#: ImageType values that say what a series shows. DERIVED and SECONDARY alone say nothing: many
#: anonymised or recompressed exports carry them.
IMAGE_TYPES = {
    Meaning.LOCALIZER: ("LOCALIZER", "SCOUT", "SURVEY"),
    Meaning.COMPUTED: (
        *("SUBTRACTION", "SUBTRACTED", "SUB", "MIP", "MINIP", "MIN IP", "MAX_IP", "MIN_IP"),
        *("PROJECTION IMAGE", "PROJECTION", "CSA MIP", "CSA MINIP", "CSA MPR", "CSAPARALLEL"),
        *("CSARADIAL", "MPR", "MPR_STAR", "CPR", "REFORMATTED", "REFORMAT", "VRT", "VOLREN"),
        *(
            "VOLUME_RENDER",
            "SURFACE",
            "FUSED",
            "T1 MAP",
            "T2 MAP",
            "T1_MAP",
            "T2_MAP",
            "T2_STAR MAP",
        ),
        *("T2STAR MAP", "R2 MAP", "R2_MAP", "R2STAR MAP", "METABOLITE_MAP", "PARAMETRIC_MAP"),
        *("PHASE MAP", "PHASE", "P", "P_SE", "P_IR", "P_FFE", "IMAGINARY", "I"),
        *("VELOCITY", "TEMPERATURE", "MEAN", "STDDEV", "STD_DEV", "DIVISION", "FAT_FRACTION", "FF"),
    ),
    Meaning.DIFFUSION: (
        *("ADC", "ADC_UNSPECIFIED", "EADC", "DADC", "DIFFUSION", "TRACE", "TRACEW", "FA", "DTI"),
        *("FRACTIONAL_ANISOTROPY", "EXP_ADC", "ISOTROPIC", "CALC_BVALUE"),
    ),
    Meaning.ANGIOGRAPHY: ("ANGIO", "TOF", "TOF_MRA", "PERFUSION", "TTP", "RELCBV"),
    Meaning.GRADIENT_ECHO: ("T2_STAR", "FFE", "M_FFE"),
    Meaning.FLAIR: ("FLUID_ATTENUATED",),
    Meaning.SINGLE_SHOT: ("MYELO",),
    Meaning.DOCUMENT: ("SCREEN SAVE", "SCREENSHOT", "SCREEN CAPTURE", "FILMED", "REPORT"),
    Meaning.WATER: ("WATER", "W"),
    Meaning.FAT: ("FAT", "F"),
    Meaning.IN_PHASE: ("IN_PHASE", "INPHASE", "IP"),
    Meaning.OPPOSED_PHASE: ("OPP_PHASE", "OUT_PHASE", "OUTPHASE", "OPPOSED_PHASE", "OP"),
}
