/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What a container's first processes send through a pipe when they could not start the command. An empty pipe
 * means that they did. */
#pragma once

struct start_failure {
	int error; /* errno */
	char what[60];
};
