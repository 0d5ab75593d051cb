/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What is found wrong: counted, merged, and never taken for told when it was not. */
#include "base/problem.h"

#include <errno.h>
#include <string.h>

#include "unit.h"

static void test_told(void)
{
	struct problems ps;

	problems_init(&ps);
	CHECK(problems_told(&ps, 0) == 0);
	CHECK(problems_told(&ps, -ENOENT) == -ENOENT);
	CHECK(problems_told(&ps, -EOPNOTSUPP) == -EIO);
	CHECK(changed(&ps, NULL, "a note") == 0);
	CHECK(problems_told(&ps, -EOPNOTSUPP) == -EIO);
	CHECK(problems_told(&ps, refused(&ps, NULL, "a refusal")) == 0);
	CHECK(ps.n_refused == 1 && !ps.n_failed && ps.first_error == -ENOTSUP);
	problems_free(&ps);
}

static void test_merged(void)
{
	struct problems a, b;

	problems_init(&a);
	problems_init(&b);
	refused(&a, BLAME(.pid = 7, .object = "fd 3", .passing = true), "the %s", "first");
	CHECK(problems_pass(&a));
	refused(&b, BLAME(.pid = 7, .object = "fd 3", .passing = true), "the first");
	CHECK(failed(&b, BLAME(.pid = 8), -EBADF, "the second") == -EBADF);
	problems_move(&a, &b);
	CHECK(a.n == 2 && a.n_refused == 1 && a.n_failed == 1 && !b.n);
	CHECK(!strcmp(a.list[0].text, "the first") && a.list[1].pid == 8 && a.list[1].error == -EBADF);
	CHECK(!problems_pass(&a) && a.first_error == -ENOTSUP);
	problems_free(&a);
	problems_free(&b);
}

int main(void)
{
	test_told();
	test_merged();
	return 0;
}
