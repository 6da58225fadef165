/* A program that names an ELF interpreter; the interpreter is the probe, so nothing of this ever runs. */
void _start(void)
{
	for (;;)
		;
}
