"""Readouts: how a value orientation is measured, in scales and in text, and what that costs in fluency and capability.

What measures values gives a `ValueProfile`.
"""

from nnvalue.readout.agreement import judge_agreement, profile_agreement
from nnvalue.readout.autodose import largest_dose
from nnvalue.readout.capability import held_out_nll, lm_eval_tasks
from nnvalue.readout.fluency import distinct, measure_fluency, repeated, summarise
from nnvalue.readout.judging import FunctionJudge, Judge, Judgement, ParserJudge, Text
from nnvalue.readout.people import against_people, direction
from nnvalue.readout.profile import ValueProfile
from nnvalue.readout.questionnaire import Question, Questionnaire, read_questionnaire
from nnvalue.readout.ranking import RankingJudge
from nnvalue.readout.rating import LLMJudge
from nnvalue.readout.rubrics import Rubrics
from nnvalue.readout.scale import measure
from nnvalue.readout.scale_scores import Difference, difference
from nnvalue.readout.text import ask_situations, judged_profile, movement, situations_of

__all__ = [
    "Difference",
    "FunctionJudge",
    "Judge",
    "Judgement",
    "LLMJudge",
    "ParserJudge",
    "Question",
    "Questionnaire",
    "RankingJudge",
    "Rubrics",
    "Text",
    "ValueProfile",
    "against_people",
    "ask_situations",
    "difference",
    "direction",
    "distinct",
    "held_out_nll",
    "judge_agreement",
    "judged_profile",
    "largest_dose",
    "lm_eval_tasks",
    "measure",
    "measure_fluency",
    "movement",
    "profile_agreement",
    "read_questionnaire",
    "repeated",
    "situations_of",
    "summarise",
]
