"""The first hour: learners, graders, a past and a dashboard around the stand-ins, for an operator who practises."""
