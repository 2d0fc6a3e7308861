"""The HTTP seams towards LMSs and graders, and who may knock."""
