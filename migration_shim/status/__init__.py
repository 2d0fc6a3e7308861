"""The status of courses and of the site: what is read, what is shown of a course, graders and queues."""
